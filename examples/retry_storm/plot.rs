//! The story as a picture.

use std::{error::Error, path::Path};

use plotters::prelude::*;

use crate::{
    fleet::Story,
    service::{CAPACITY, END, TROUBLE, TROUBLED},
};

const COLOURS: [RGBColor; 6] = [
    RGBColor(120, 120, 120),
    RGBColor(200, 40, 40),
    RGBColor(225, 130, 30),
    RGBColor(190, 170, 20),
    RGBColor(40, 140, 60),
    RGBColor(40, 90, 190),
];

/// Draws the load that each strategy puts on the service, and the share of calls that succeed.
pub(crate) fn draw(path: &Path, stories: &[Story]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (960, 900)).into_drawing_area();
    root.fill(&WHITE)?;
    let (load, answers) = root.split_vertically(450);
    let highest = stories.iter().flat_map(|s| &s.seen).map(|seen| seen.came).max().unwrap_or(1);
    panel(
        &load,
        "Requests a second at the service",
        f64::from(highest) * 1.05,
        stories,
        |story| story.seen.iter().map(|seen| f64::from(seen.came)).collect(),
    )?;
    panel(&answers, "Calls that succeed, in percent", 105.0, stories, |story| {
        story.answered.iter().map(|second| second.share() * 100.0).collect()
    })?;
    root.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    top: f64,
    stories: &[Story],
    series: impl Fn(&Story) -> Vec<f64>,
) -> Result<(), Box<dyn Error>> {
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..END as f64, 0.0..top)?;
    chart.configure_mesh().light_line_style(WHITE).x_desc("seconds").draw()?;
    let trouble = [(TROUBLE.start as f64, 0.0), (TROUBLE.end as f64, top)];
    chart.draw_series([Rectangle::new(trouble, RGBColor(250, 232, 220).filled())])?;
    if top > CAPACITY {
        let capacity = [
            (0.0, CAPACITY),
            (TROUBLE.start as f64, CAPACITY),
            (TROUBLE.start as f64, TROUBLED),
            (TROUBLE.end as f64, TROUBLED),
            (TROUBLE.end as f64, CAPACITY),
            (END as f64, CAPACITY),
        ];
        chart
            .draw_series(LineSeries::new(capacity, BLACK.stroke_width(1)))?
            .label("what it can do")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], BLACK));
    }
    for (story, colour) in stories.iter().zip(COLOURS) {
        let points = series(story).into_iter().enumerate();
        let points = points.take(END as usize).map(|(second, value)| (second as f64 + 0.5, value));
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
            .label(story.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()?;
    Ok(())
}
