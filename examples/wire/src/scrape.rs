//! What Prometheus would get: the text of `/metrics`, fetched over HTTP and read.

use std::{collections::BTreeMap, net::SocketAddr};

use portcullis::BoxError;

/// One scrape: each sample by its name and labels, as they stand in the text.
#[derive(Debug)]
pub struct Scrape {
    samples: BTreeMap<String, f64>,
    counters: Vec<String>,
}

impl Scrape {
    /// Fetches `/metrics` of a server.
    ///
    /// # Errors
    /// Whatever keeps the text from being fetched or read.
    pub async fn of(address: SocketAddr) -> Result<Self, BoxError> {
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()?
            .get(format!("http://{address}/metrics"))
            .send()
            .await?
            .error_for_status()?;
        Self::read(&answer.text().await?)
    }

    fn read(text: &str) -> Result<Self, BoxError> {
        let (mut samples, mut counters) = (BTreeMap::new(), Vec::new());
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                counters.extend(kind.strip_suffix(" counter").map(str::to_owned));
            } else if !line.starts_with('#') {
                let (sample, value) = line.rsplit_once(' ').ok_or("a sample without a value")?;
                samples.insert(sample.to_owned(), value.parse()?);
            }
        }
        Ok(Self { samples, counters })
    }

    /// The sum of all samples of a name that have each of these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: Vec<_> =
            labels.iter().map(|(label, word)| format!("{label}=\"{word}\"")).collect();
        let of = self.samples.iter().filter(|(sample, _)| {
            sample.split('{').next() == Some(name)
                && wanted.iter().all(|label| sample.contains(label))
        });
        of.map(|(_, value)| value).sum()
    }

    /// A counter that has gone down since an earlier scrape, if there is one.
    pub fn fallen_since<'a>(&self, earlier: &'a Self) -> Option<&'a str> {
        let counts = |sample: &str| {
            self.counters.iter().any(|name| sample.split('{').next() == Some(name.as_str()))
        };
        let fallen = earlier.samples.iter().find(|(sample, before)| {
            counts(sample) && self.samples.get(*sample).is_none_or(|now| now < before)
        });
        fallen.map(|(sample, _)| sample.as_str())
    }

    /// The lines of some metrics that are not zero, as they stand in the text.
    pub fn excerpt(&self, prefixes: &[&str]) -> Vec<String> {
        let shown = |sample: &str| {
            // Buckets are for Prometheus to make quantiles of.
            prefixes.iter().any(|prefix| sample.starts_with(prefix)) && !sample.contains("_bucket{")
        };
        let lines = self.samples.iter().filter(|(sample, value)| shown(sample) && **value != 0.0);
        lines.map(|(sample, value)| format!("{sample} {value}")).collect()
    }
}
