//! The text formats of Prometheus.

use bytes::Bytes;

/// The format of an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TextFormat {
    /// Version 0.0.4 of Prometheus' own format.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl TextFormat {
    /// The format for a scrape with this `Accept` header. OpenMetrics only for those who name it.
    pub fn accepted(accept: Option<&str>) -> Self {
        let kinds = accept.unwrap_or_default().split(',');
        let mut names = kinds.map(|kind| kind.split(';').next().unwrap_or_default().trim());
        match names.any(|name| name.eq_ignore_ascii_case("application/openmetrics-text")) {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// The content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The type of a family of series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FamilyKind {
    /// Only increases, until it is reset. Its samples end with `_total`.
    Counter,
    /// May have any value.
    Gauge,
    /// Cumulative buckets, a sum and a count.
    Histogram,
}

impl FamilyKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// An exposition that is being written, family by family.
#[derive(Debug)]
pub struct Exposition {
    format: TextFormat,
    text: String,
    name: String,
    kind: FamilyKind,
}

impl Exposition {
    /// An empty one.
    pub fn new(format: TextFormat) -> Self {
        Self { format, text: String::new(), name: String::new(), kind: FamilyKind::Gauge }
    }

    /// Begins a family. `name` has no `_total`; `unit` is empty or the last word of the name.
    pub fn family(&mut self, name: &str, kind: FamilyKind, unit: &str, help: &str) {
        name.clone_into(&mut self.name);
        self.kind = kind;
        let open_metrics = self.format == TextFormat::OpenMetrics;
        // Prometheus' own format describes the samples of a counter, not their family.
        let total = if kind == FamilyKind::Counter && !open_metrics { "_total" } else { "" };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let help = if open_metrics { help.replace('"', "\\\"") } else { help };
        self.push(&["# HELP ", name, total, " ", &help, "\n"]);
        self.push(&["# TYPE ", name, total, " ", kind.as_str(), "\n"]);
        if open_metrics && !unit.is_empty() {
            self.push(&["# UNIT ", name, " ", unit, "\n"]);
        }
    }

    /// Adds a sample of the family.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: &str) {
        let mut text = String::new();
        write_labels(&mut text, labels.iter().copied());
        self.series(&text, value, None);
    }

    /// Adds a histogram with these labels: upper bounds with cumulative counts, without that of
    /// infinity, the sum of all values, and their count.
    pub fn histogram(
        &mut self,
        labels: &[(&str, &str)],
        buckets: &[(f64, u64)],
        (sum, count): (f64, u64),
    ) {
        let mut text = String::new();
        write_labels(&mut text, labels.iter().copied());
        self.written_histogram(&text, buckets, (Some(sum), count));
    }

    /// The same with labels that have been written, and perhaps without a sum.
    pub(super) fn written_histogram(
        &mut self,
        labels: &str,
        buckets: &[(f64, u64)],
        (sum, count): (Option<f64>, u64),
    ) {
        let with = |bound: &str| {
            let mut text = labels.to_owned();
            write_labels(&mut text, [("le", bound)]);
            text
        };
        for (bound, count) in buckets {
            let labels = with(&bucket_bound(*bound));
            self.line("_bucket", &labels, &count.to_string(), None);
        }
        self.line("_bucket", &with("+Inf"), &count.to_string(), None);
        if let Some(sum) = sum {
            self.line("_sum", labels, &super::number::plain(sum), None);
        }
        self.line("_count", labels, &count.to_string(), None);
    }

    /// Adds a sample whose labels have been written, with its time in ms.
    pub(super) fn series(&mut self, labels: &str, value: &str, time: Option<u64>) {
        let suffix = if self.kind == FamilyKind::Counter { "_total" } else { "" };
        self.line(suffix, labels, value, time);
    }

    pub(super) fn line(&mut self, suffix: &str, labels: &str, value: &str, time: Option<u64>) {
        let name = std::mem::take(&mut self.name);
        self.push(&[&name, suffix]);
        self.name = name;
        if !labels.is_empty() {
            self.push(&["{", labels, "}"]);
        }
        self.push(&[" ", value]);
        match (time, self.format) {
            (None, _) => {}
            (Some(time), TextFormat::Prometheus) => self.push(&[" ", &time.to_string()]),
            (Some(time), TextFormat::OpenMetrics) => {
                self.push(&[" ", &format!("{}.{:03}", time / 1000, time % 1000)]);
            }
        }
        self.text.push('\n');
    }

    /// The whole text.
    pub fn finish(mut self) -> Bytes {
        if self.format == TextFormat::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text.into()
    }

    fn push(&mut self, parts: &[&str]) {
        parts.iter().for_each(|part| self.text.push_str(part));
    }
}

/// An upper bound as the label `le`: a double, in the canonical form of OpenMetrics.
pub(super) fn bucket_bound(bound: f64) -> String {
    super::number::as_prometheus_client(bound)
}

/// Writes labels without braces.
pub(super) fn write_labels<'a>(
    text: &mut String,
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
}

/// A name that Prometheus accepts for a metric or a label: other characters become `_`.
pub(super) fn sanitised(name: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    let text: String = name.chars().map(valid).collect();
    if text.starts_with(|c: char| c.is_ascii_digit()) { format!("_{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_in_both_formats() {
        let written = |format| {
            let mut exposition = Exposition::new(format);
            exposition.family("a_seconds", FamilyKind::Counter, "seconds", "Time \"of\"\nall.");
            exposition.sample(&[("x", "q\"\\\n")], "1.5");
            exposition.family("b", FamilyKind::Histogram, "", "B.");
            exposition.histogram(&[("y", "z")], &[(0.5, 1), (1.0, 2)], (3.25, 4));
            String::from_utf8(exposition.finish().to_vec()).unwrap()
        };
        let histogram = "# TYPE b histogram\nb_bucket{y=\"z\",le=\"0.5\"} 1\nb_bucket{y=\"z\",le=\"1.0\"} 2\n\
             b_bucket{y=\"z\",le=\"+Inf\"} 4\nb_sum{y=\"z\"} 3.25\nb_count{y=\"z\"} 4\n";
        assert_eq!(
            written(TextFormat::Prometheus),
            format!(
                "# HELP a_seconds_total Time \"of\"\\nall.\n# TYPE a_seconds_total counter\n\
                 a_seconds_total{{x=\"q\\\"\\\\\\n\"}} 1.5\n# HELP b B.\n{histogram}"
            )
        );
        assert_eq!(
            written(TextFormat::OpenMetrics),
            format!(
                "# HELP a_seconds Time \\\"of\\\"\\nall.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                 a_seconds_total{{x=\"q\\\"\\\\\\n\"}} 1.5\n# HELP b B.\n{histogram}# EOF\n"
            )
        );
    }

    #[test]
    fn open_metrics_is_sent_to_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(TextFormat::accepted(Some(prometheus)), TextFormat::OpenMetrics);
        for other in [None, Some("*/*"), Some("text/plain; version=0.0.4")] {
            assert_eq!(TextFormat::accepted(other), TextFormat::Prometheus);
        }
    }
}
