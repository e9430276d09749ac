//! Prometheus' text format, read strictly: whatever it does not allow is an error with its line.

use std::collections::{BTreeMap, BTreeSet};

/// What one name stands for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Family {
    pub(crate) help: String,
    pub(crate) kind: String,
    /// By the sample's own name and labels, in their order.
    pub(crate) samples: BTreeMap<String, f64>,
}

#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) families: BTreeMap<String, Family>,
}

impl Scrape {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no end".to_owned());
        }
        let mut scrape = Self::default();
        let mut at = Place::default();
        for (number, line) in text.lines().enumerate() {
            scrape
                .line(line, &mut at)
                .map_err(|why| format!("line {}: {why}: {line}", number + 1))?;
        }
        scrape.families.iter().try_for_each(|(name, family)| complete(name, family))?;
        Ok(scrape)
    }

    fn line(&mut self, line: &str, at: &mut Place) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').ok_or("no text")?;
            if at.help.is_some() {
                return Err("two texts in a row".to_owned());
            }
            at.help = Some((metric_name(name)?.to_owned(), text.to_owned()));
            return Ok(());
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or("no type")?;
            if !["counter", "gauge", "histogram", "summary"].contains(&kind) {
                return Err("an unknown type".to_owned());
            }
            let (described, help) = at.help.take().ok_or("a type without a text before it")?;
            if described != name {
                return Err("the text before is of another name".to_owned());
            }
            let family = Family { help, kind: kind.to_owned(), samples: BTreeMap::new() };
            if self.families.insert(metric_name(name)?.to_owned(), family).is_some() {
                return Err("a second time".to_owned());
            }
            at.family = Some(name.to_owned());
            return Ok(());
        }
        if line.starts_with('#') || at.help.is_some() {
            return Err("neither text, type, nor a sample where one may be".to_owned());
        }
        let sample = Sample::read(line)?;
        let family = at.family.as_ref().ok_or("a sample before any type")?;
        let of = self.families.get_mut(family).ok_or("no family")?;
        let rest = sample.name.strip_prefix(family.as_str()).ok_or("a sample of another name")?;
        let known = match of.kind.as_str() {
            "histogram" => ["_bucket", "_sum", "_count"].contains(&rest),
            "summary" => ["", "_sum", "_count"].contains(&rest),
            _ => rest.is_empty(),
        };
        if !known {
            return Err("a sample that its type has not".to_owned());
        }
        if of.kind == "counter" && (sample.value < 0.0 || sample.value.fract() != 0.0) {
            return Err("no count".to_owned());
        }
        match of.samples.insert(sample.key(), sample.value) {
            Some(_) => Err("the same sample again".to_owned()),
            None => Ok(()),
        }
    }

    /// What one sample says, written as it stands in the text.
    pub(crate) fn get(&self, sample: &str) -> Option<f64> {
        self.families.values().find_map(|family| family.samples.get(sample)).copied()
    }

    /// The names that a query may use.
    pub(crate) fn sample_names(&self) -> BTreeSet<String> {
        let keys = self.families.values().flat_map(|family| family.samples.keys());
        keys.map(|key| key.split('{').next().unwrap_or_default().to_owned()).collect()
    }
}

/// Where in the text the reader is.
#[derive(Default)]
struct Place {
    help: Option<(String, String)>,
    family: Option<String>,
}

/// Names and values.
type Labels = Vec<(String, String)>;

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Labels,
    value: f64,
}

impl Sample {
    fn read(line: &str) -> Result<Self, String> {
        let (name, rest) = line.split_at(line.find(['{', ' ']).ok_or("no value")?);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (Vec::new(), rest),
        };
        let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
        let value = value.parse().map_err(|_| "no number")?;
        Ok(Self { name: metric_name(name)?.to_owned(), labels, value })
    }

    fn key(&self) -> String {
        let labels = self.labels.iter().map(|(name, value)| format!("{name}=\"{value}\""));
        let labels = labels.collect::<Vec<_>>().join(",");
        if labels.is_empty() { self.name.clone() } else { format!("{}{{{labels}}}", self.name) }
    }
}

/// Labels up to the closing brace, and what comes after it.
fn labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("`{name}` is no name of a label"));
        }
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a value without an end")? {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, escaped @ ('"' | '\\'))) => escaped,
                    _ => return Err("an unknown escape".to_owned()),
                }),
                (_, plain) => value.push(plain),
            }
        };
        if labels.iter().any(|(known, _)| known == name) {
            return Err(format!("the label `{name}` twice"));
        }
        labels.push((name.to_owned(), value));
        rest = &after[end + 1..];
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        rest = rest.strip_prefix(',').ok_or("neither a comma nor the end of the labels")?;
    }
}

fn metric_name(name: &str) -> Result<&str, String> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let valid = starts && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if valid { Ok(name) } else { Err(format!("`{name}` is no name of a metric")) }
}

/// Buckets only ever grow, and the last one holds everything.
fn complete(name: &str, family: &Family) -> Result<(), String> {
    if family.samples.is_empty() {
        return Err(format!("{name} has no samples"));
    }
    if family.kind != "histogram" {
        return Ok(());
    }
    let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (key, value) in &family.samples {
        if let Some(labels) = key.strip_prefix(&format!("{name}_bucket")) {
            let sample = Sample::read(&format!("x{labels} 0"))?;
            let bound = sample.labels.iter().find(|(label, _)| label == "le").ok_or("no bound")?;
            let bound = bound.1.parse().map_err(|_| "the bound is no number")?;
            let others = sample.labels.iter().filter(|(label, _)| label != "le");
            let others: Vec<_> =
                others.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            series.entry(others.join(",")).or_default().push((bound, *value));
        }
    }
    for (labels, mut buckets) in series {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let grows = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        let last = buckets.last().ok_or("no buckets")?;
        let count = family.samples.get(&format!("{name}_count{{{labels}}}"));
        if !grows || last.0 != f64::INFINITY || count != Some(&last.1) {
            return Err(format!("{name}{{{labels}}}: the buckets do not add up: {buckets:?}"));
        }
    }
    Ok(())
}

#[test]
fn what_the_format_does_not_allow_is_not_read() {
    let good = "# HELP a_total x\n# TYPE a_total counter\na_total{name=\"q\\\"\\n\"} 1\n\n";
    let scrape = Scrape::read(good).expect("a valid text");
    assert_eq!(scrape.get("a_total{name=\"q\"\n\"}"), Some(1.0));
    for bad in [
        "a 1\n",
        "# TYPE a counter\na 1\n",
        "# HELP a x\n# TYPE b counter\nb 1\n",
        "# HELP a x\n# TYPE a count\na 1\n",
        "# HELP a x\n# TYPE a counter\n",
        "# HELP a x\n# TYPE a counter\na -1\n",
        "# HELP a x\n# TYPE a counter\na 1.5\n",
        "# HELP a x\n# TYPE a counter\na one\n",
        "# HELP a x\n# TYPE a counter\na 1\na 1\n",
        "# HELP a x\n# TYPE a counter\nab 1\n",
        "# HELP a x\n# TYPE a counter\na{b=\"c} 1\n",
        "# HELP a x\n# TYPE a counter\na{b=\"c\",b=\"c\"} 1\n",
        "# HELP a x\n# TYPE a counter\na{1b=\"c\"} 1\n",
        "# HELP a x\n# TYPE a counter\na{b=\"\\x\"} 1\n",
        "# HELP a x\n# TYPE a counter\na{b=\"c\"}1\n",
        "# HELP a x\n# TYPE a counter\na 1",
        "# HELP a.b x\n# TYPE a.b counter\na.b 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# HELP a x\n# TYPE a histogram\na_bucket{n=\"b\",le=\"+Inf\"} 1\na_sum{n=\"b\"} 1\na_count{n=\"b\"} 2\n",
    ] {
        assert!(Scrape::read(bad).is_err(), "{bad}");
    }
}
