//! The pipeline as a picture: three columns of cards, and curves between them.

use std::fmt::Write as _;

use super::model::{PipelineGraph, first_meters};
use crate::cli::columns;

/// The number of meters on a card at most.
const METERS: usize = 6;
/// The columns of a line at most.
const LONGEST_LINE: usize = 36;
/// Sizes in pixels.
const CHARACTER: usize = 8;
const LINE: usize = 20;
const PADDING: usize = 14;
const CARD_GAP: usize = 22;
const COLUMN_GAP: usize = 110;
const MARGIN: usize = 28;
/// The height of the headings of the columns.
const HEADING: usize = 34;

const HEADINGS: [&str; 3] = ["Sources", "Sinks", "Publishers"];

/// Classes without variables, which not every program that shows SVG knows.
const STYLE: &str = "
  text { font: 13px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace; fill: #1f2933; }
  .ground { fill: #ffffff; }
  .card { fill: #f7f9fb; stroke: #c3ccd6; }
  .heading { font: 600 12px system-ui, 'DejaVu Sans', sans-serif; letter-spacing: .08em; fill: #66727f; }
  .name { font-weight: 700; }
  .line { fill: #52606d; }
  .edge { fill: none; stroke: #8a97a5; stroke-width: 1.5; }
  .arrow { fill: #8a97a5; }
  .source { fill: #2f6fb5; } .sink { fill: #b7791f; } .publisher { fill: #2f855a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6ebf0; }
    .ground { fill: #14191f; }
    .card { fill: #1e262f; stroke: #3a4652; }
    .heading { fill: #94a1ae; }
    .line { fill: #a9b5c1; }
    .edge { stroke: #6b7886; }
    .arrow { fill: #6b7886; }
    .source { fill: #63a4e8; } .sink { fill: #e0ac4f; } .publisher { fill: #5fc08f; }
  }
";

/// A box with a name and lines.
struct SvgCard {
    class: &'static str,
    name: String,
    lines: Vec<String>,
    /// All of it, shown under the pointer.
    full: String,
    /// Indexes of the cards in the column before that lead to it.
    from: Vec<usize>,
    top: usize,
}

impl SvgCard {
    fn new(class: &'static str, name: &str, lines: &[String], from: Vec<usize>) -> Self {
        let short = |line: &String| columns::cut(line, LONGEST_LINE);
        let lines = lines.iter().map(short).collect();
        Self {
            class,
            name: columns::cut(name, LONGEST_LINE),
            lines,
            full: name.to_owned(),
            from,
            top: 0,
        }
    }

    fn height(&self) -> usize {
        2 * PADDING + LINE * (1 + self.lines.len()) - LINE / 3
    }

    fn middle(&self) -> usize {
        self.top + self.height() / 2
    }

    fn width(&self) -> usize {
        let lines = self.lines.iter().chain([&self.name]);
        let longest = lines.map(|line| columns::width(line)).max().unwrap_or(0);
        longest * CHARACTER + 2 * PADDING
    }
}

/// A picture with its own colours for light and dark pages.
pub(super) fn picture(graph: &PipelineGraph) -> String {
    let mut columns = cards(graph);
    place(&mut columns);
    let widths = columns.each_ref().map(|column| {
        let widest = column.iter().map(SvgCard::width).max().unwrap_or(0);
        widest.max(HEADINGS[0].len() * 2 * CHARACTER)
    });
    let lefts =
        [MARGIN, MARGIN + widths[0] + COLUMN_GAP, MARGIN + widths[0] + widths[1] + 2 * COLUMN_GAP];
    let bottom = columns.iter().flatten().map(|card| card.top + card.height()).max();
    let (width, height) =
        (lefts[2] + widths[2] + MARGIN, bottom.unwrap_or(MARGIN + HEADING) + MARGIN);
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let title = format!(
        "Pipeline: {}, {}, {}",
        counted(graph.sources.len(), "source"),
        counted(graph.sinks.len(), "sink"),
        counted(graph.publishers.len(), "publisher")
    );
    let mut body = String::new();
    for (at, heading) in HEADINGS.iter().enumerate() {
        let (x, y) = (lefts[at], MARGIN + 10);
        body += &format!("<text class=\"heading\" x=\"{x}\" y=\"{y}\">{heading}</text>\n");
    }
    for at in [1, 2] {
        let from = lefts[at - 1] + widths[at - 1];
        for card in &columns[at] {
            for &before in &card.from {
                body += &edge([from, columns[at - 1][before].middle()], [lefts[at], card.middle()]);
            }
        }
    }
    for (at, column) in columns.iter().enumerate() {
        column.iter().for_each(|card| body += &drawn(card, lefts[at], widths[at]));
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

fn cards(graph: &PipelineGraph) -> [Vec<SvgCard>; 3] {
    let sources = graph.sources.iter().map(|source| {
        let lines = [vec![source.interval.clone()], first_meters(&source.meters, METERS)].concat();
        let mut card = SvgCard::new("source", &source.name, &lines, Vec::new());
        card.full = format!("{}, {}: {}", source.name, source.interval, source.meters.join(", "));
        card
    });
    let sinks = graph.sinks.iter().enumerate().map(|(index, sink)| {
        let fed = |at: &usize| graph.sources[*at].sinks.contains(&index);
        let from = (0..graph.sources.len()).filter(fed).collect();
        let numbered = sink.transformers.iter().enumerate();
        let lines: Vec<String> = numbered.map(|(at, name)| format!("{}. {name}", at + 1)).collect();
        let full = [vec![sink.name.clone()], lines.clone()].concat().join(" ");
        SvgCard { full, ..SvgCard::new("sink", &sink.name, &lines, from) }
    });
    let publishers = graph.publishers.iter().enumerate().map(|(index, label)| {
        let fed = |at: &usize| graph.sinks[*at].publishers.contains(&index);
        let from = (0..graph.sinks.len()).filter(fed).collect();
        SvgCard::new("publisher", label, &[], from)
    });
    [sources.collect(), sinks.collect(), publishers.collect()]
}

/// Sets the places of all cards: the first column in its order, the others beside what leads to them,
/// and then the first column again beside where it leads.
fn place(columns: &mut [Vec<SvgCard>; 3]) {
    let none = vec![None; columns[0].len()];
    stack(&mut columns[0], &none);
    for at in [1, 2] {
        let (before, after) = columns.split_at_mut(at);
        let wishes: Vec<Option<usize>> = after[0]
            .iter()
            .map(|card| mean(card.from.iter().map(|&one| before[at - 1][one].middle())))
            .collect();
        stack(&mut after[0], &wishes);
    }
    let (sources, sinks) = columns.split_at_mut(1);
    let beside = |source: usize| {
        mean(sinks[0].iter().filter(|sink| sink.from.contains(&source)).map(SvgCard::middle))
    };
    let wishes: Vec<Option<usize>> = (0..sources[0].len()).map(beside).collect();
    stack(&mut sources[0], &wishes);
}

fn mean(values: impl Iterator<Item = usize>) -> Option<usize> {
    let values: Vec<usize> = values.collect();
    values.iter().sum::<usize>().checked_div(values.len())
}

/// Places the cards of a column one below the other, each as near to its wished middle as those before
/// it allow. Cards without a wish come last.
fn stack(column: &mut [SvgCard], wishes: &[Option<usize>]) {
    let mut order: Vec<usize> = (0..column.len()).collect();
    order.sort_by_key(|&at| wishes[at].unwrap_or(usize::MAX));
    let mut free = MARGIN + HEADING;
    for at in order {
        let card = &mut column[at];
        let wished = wishes[at].map_or(free, |middle| middle.saturating_sub(card.height() / 2));
        card.top = free.max(wished);
        free = card.top + card.height() + CARD_GAP;
    }
}

/// A curve with an arrow head, from the right side of a card to the left side of another.
fn edge([x, y]: [usize; 2], [to_x, to_y]: [usize; 2]) -> String {
    let (middle, end) = (usize::midpoint(x, to_x), to_x - 8);
    let (above, below) = (to_y - 4, to_y + 4);
    format!(
        "<path class=\"edge\" d=\"M{x} {y} C{middle} {y} {middle} {to_y} {end} {to_y}\"/>\
         <path class=\"arrow\" d=\"M{to_x} {to_y} L{end} {above} L{end} {below} Z\"/>\n"
    )
}

fn drawn(card: &SvgCard, left: usize, width: usize) -> String {
    let (top, height, class) = (card.top, card.height(), card.class);
    let (x, mut y) = (left + PADDING, top + PADDING + 11);
    let mut text = format!(
        "<g><title>{}</title><rect class=\"card\" x=\"{left}\" y=\"{top}\" width=\"{width}\" \
         height=\"{height}\" rx=\"7\"/>\
         <rect class=\"{class}\" x=\"{left}\" y=\"{}\" width=\"4\" height=\"{}\" rx=\"2\"/>\
         <text class=\"name\" x=\"{x}\" y=\"{y}\">{}</text>",
        escaped(&card.full),
        top + 8,
        height - 16,
        escaped(&card.name)
    );
    for line in &card.lines {
        y += LINE;
        // Writing to a string cannot fail.
        let _ = write!(text, "<text class=\"line\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(line));
    }
    text + "</g>\n"
}

/// A text for XML. Control characters have been escaped before; XML has two more that it forbids.
fn escaped(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => line.push_str("&amp;"),
            '<' => line.push_str("&lt;"),
            '>' => line.push_str("&gt;"),
            '"' => line.push_str("&quot;"),
            '\'' => line.push_str("&apos;"),
            '\u{fffe}' | '\u{ffff}' => line.push('\u{fffd}'),
            c => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::marked;
    use super::*;

    #[test]
    fn names_cannot_become_elements() {
        assert_eq!(escaped("a<b>&\"'\u{ffff}"), "a&lt;b&gt;&amp;&quot;&apos;\u{fffd}");
        let plain = picture(&marked(""));
        let hostile = picture(&marked("</text><script>&"));
        let elements = |text: &str| [text.matches('<').count(), text.matches('>').count()];
        assert_eq!(elements(&hostile), elements(&plain), "{hostile}");
    }

    #[test]
    fn cards_of_a_column_do_not_overlap() {
        let mut graph = marked("");
        for _ in 0..6 {
            graph.sources.extend(marked("").sources);
            graph.sinks.extend(marked("").sinks);
        }
        let mut columns = cards(&graph);
        place(&mut columns);
        for column in &columns {
            let mut places: Vec<[usize; 2]> =
                column.iter().map(|card| [card.top, card.top + card.height()]).collect();
            places.sort_unstable();
            assert!(places.windows(2).all(|pair| pair[0][1] < pair[1][0]), "{places:?}");
        }
    }
}
