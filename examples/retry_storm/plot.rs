//! The story as a picture.

use plotters::{coord::Shift, prelude::*};
use portcullis::BoxError;

use crate::{
    fleet::Story,
    service::{CAPACITY, END, TROUBLE, TROUBLED},
};

/// Told apart also by those who see red and green alike.
const COLOURS: [RGBColor; 6] = [
    RGBColor(130, 130, 130),
    RGBColor(213, 94, 0),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
    RGBColor(0, 158, 115),
    RGBColor(0, 90, 178),
];
const SHADE: RGBColor = RGBColor(250, 236, 226);
const FAINT: RGBColor = RGBColor(222, 222, 222);

const WIDTH: u32 = 960;
const LEGEND: u32 = 44;
const PANEL: u32 = 420;
const LINE: u32 = 2;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the load that each strategy puts on the service, and the share of calls that succeed.
pub(crate) fn draw(stories: &[Story]) -> Result<String, BoxError> {
    let mut picture = String::new();
    try_draw(&mut picture, stories).map_err(|error| error.to_string())?;
    Ok(picture)
}

fn try_draw(picture: &mut String, stories: &[Story]) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(picture, (WIDTH, LEGEND + 2 * PANEL)).into_drawing_area();
    root.fill(&WHITE)?;
    let (top, panels) = root.split_vertically(LEGEND);
    let (load, answers) = panels.split_vertically(PANEL);
    legend(&top, stories)?;

    let most = f64::from(stories.iter().map(Story::peak).max().unwrap_or(1)).max(CAPACITY);
    panel(&load, "Requests a second at the service", most * 1.1, "", stories, |story| {
        story.came.iter().copied().map(f64::from).collect()
    })?;
    // Those lines lie upon each other.
    let lost = stories.iter().filter(|story| story.recovery().is_none()).map(|story| story.name);
    let note = lost.collect::<Vec<_>>().join(", ");
    panel(&answers, "Calls that succeed, in percent", 110.0, &note, stories, |story| {
        story.calls.iter().map(|calls| calls.share() * 100.0).collect()
    })?;
    root.present()?;
    Ok(())
}

/// One line for both panels, above them, where it hides nothing.
fn legend(area: &Area<'_>, stories: &[Story]) -> Result<(), Box<dyn std::error::Error>> {
    let width = WIDTH as i32 / (stories.len() as i32 + 1);
    let text = ("sans-serif", 15).into_font();
    let names = stories.iter().map(|story| story.name).chain(["what it can do"]);
    for (place, name) in names.enumerate() {
        let (x, y) = (14 + place as i32 * width, LEGEND as i32 / 2 + 4);
        match COLOURS.get(place) {
            Some(colour) => {
                let line = vec![(x, y), (x + 20, y)];
                area.draw(&PathElement::new(line, colour.stroke_width(3)))?;
            }
            None => {
                for dash in [0, 8, 16] {
                    let line = vec![(x + dash, y), (x + dash + 4, y)];
                    area.draw(&PathElement::new(line, BLACK.stroke_width(2)))?;
                }
            }
        }
        area.draw(&Text::new(name, (x + 26, y - 7), text.clone()))?;
    }
    Ok(())
}

fn panel(
    area: &Area<'_>,
    title: &str,
    top: f64,
    note: &str,
    stories: &[Story],
    series: impl Fn(&Story) -> Vec<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(52)
        .build_cartesian_2d(0.0..END as f64, 0.0..top)?;
    let (begins, ends) = (TROUBLE.start as f64, TROUBLE.end as f64);
    chart.draw_series([Rectangle::new([(begins, 0.0), (ends, top)], SHADE.filled())])?;
    let text = ("sans-serif", 14).into_font();
    chart.draw_series([Text::new("trouble", (begins + 0.4, top * 0.99), text.clone())])?;
    let place = (ends + 12.0, top * 0.05);
    chart.draw_series([Text::new(note.to_owned(), place, text.clone())])?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(FAINT)
        .light_line_style(TRANSPARENT)
        .x_labels(13)
        .x_desc("seconds")
        .label_style(text)
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_label_formatter(&|value| format!("{value:.0}"))
        .draw()?;
    for (story, colour) in stories.iter().zip(COLOURS) {
        let points = series(story).into_iter().take(END as usize).enumerate();
        let points = points.map(|(second, value)| (second as f64 + 0.5, value));
        chart.draw_series(LineSeries::new(points, colour.stroke_width(LINE)))?;
    }
    // Only where it is on the scale: a share is not measured against it.
    if top > CAPACITY {
        let capacity = [
            (0.0, CAPACITY),
            (begins, CAPACITY),
            (begins, TROUBLED),
            (ends, TROUBLED),
            (ends, CAPACITY),
            (END as f64, CAPACITY),
        ];
        chart.draw_series(DashedLineSeries::new(capacity, 4, 4, BLACK.stroke_width(LINE)))?;
    }
    Ok(())
}
