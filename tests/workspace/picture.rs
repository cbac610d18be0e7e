//! Draws the crates and their dependencies: `host/architecture.svg`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Package, short};

const WIDTH: i32 = 900;
const BOX: (i32, i32) = (240, 66);
const ROW: i32 = 112;
/// Space at the sides for arrows that pass rows.
const MARGIN: i32 = 62;
/// Characters per line of a description.
const LINE: usize = 38;

struct Placed<'a> {
    package: &'a Package,
    /// The middle of the box, and its upper edge.
    x: i32,
    y: i32,
    level: usize,
}

/// Draws each crate above its dependencies. Arrows that follow from others are left out.
pub(super) fn picture(packages: &[Package]) -> String {
    let uses: BTreeMap<&str, BTreeSet<&str>> = packages
        .iter()
        .map(|one| (&*one.name, one.internal.iter().map(String::as_str).collect()))
        .collect();
    let levels: BTreeMap<&str, usize> =
        uses.keys().map(|name| (*name, level(&uses, name))).collect();
    let top = levels.values().max().copied().unwrap_or_default();
    let mut placed: BTreeMap<&str, Placed<'_>> = BTreeMap::new();
    for row in 0..=top {
        let here: Vec<&Package> =
            packages.iter().filter(|one| levels[&*one.name] == top - row).collect();
        let step = (WIDTH - 2 * MARGIN) / i32::try_from(here.len().max(1)).unwrap();
        for (at, package) in (0..).zip(here) {
            let x = MARGIN + step / 2 + step * at;
            let (x, y) = (x, 24 + ROW * i32::try_from(row).unwrap());
            placed.insert(&package.name, Placed { package, x, y, level: top - row });
        }
    }
    let height = 24 + ROW * i32::try_from(top).unwrap() + BOX.1 + 24;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"system-ui, sans-serif\" role=\"img\">\n\
         <title>The crates of Nephometer; an arrow leads from a crate to one that it uses</title>\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" \
         markerHeight=\"7\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#57606a\"/></marker></defs>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    let mut lanes = (14, WIDTH - 14);
    for (from, used) in &uses {
        for to in used.iter().filter(|to| !is_implied(&uses, from, to)) {
            arrow(&mut svg, &placed[from], &placed[to], &mut lanes);
        }
    }
    placed.values().for_each(|one| draw(&mut svg, one));
    svg.push_str("</svg>\n");
    svg
}

/// The length of the longest chain of dependencies of a crate.
fn level(uses: &BTreeMap<&str, BTreeSet<&str>>, name: &str) -> usize {
    uses[name].iter().map(|used| level(uses, used) + 1).max().unwrap_or_default()
}

/// Whether another dependency of `from` uses `to`.
fn is_implied(uses: &BTreeMap<&str, BTreeSet<&str>>, from: &str, to: &str) -> bool {
    uses[from].iter().any(|other| uses[other].contains(to))
}

fn arrow(svg: &mut String, from: &Placed<'_>, to: &Placed<'_>, lanes: &mut (i32, i32)) {
    let style = "fill=\"none\" stroke=\"#57606a\" stroke-width=\"1.3\" marker-end=\"url(#a)\"";
    if from.level == to.level + 1 {
        let (x1, y1, x2, y2) = (from.x, from.y + BOX.1, to.x, to.y - 2);
        let bend = (y2 - y1) / 2;
        let path = format!("M{x1} {y1}C{x1} {} {x2} {} {x2} {y2}", y1 + bend, y2 - bend);
        writeln!(svg, "<path d=\"{path}\" {style}/>").unwrap();
        return;
    }
    // Passes the rows between at the side.
    let left = to.x <= WIDTH / 2;
    let (lane, side) = if left { (&mut lanes.0, -1) } else { (&mut lanes.1, 1) };
    let (x1, y1) = (from.x + side * 40, from.y + BOX.1);
    let (x2, y2) = (to.x + side * (BOX.0 / 2 + 2), to.y + BOX.1 / 2);
    let turn = y1 + 12;
    writeln!(svg, "<path d=\"M{x1} {y1}V{turn}H{lane}V{y2}H{x2}\" {style}/>").unwrap();
    *lane -= side * 14;
}

fn draw(svg: &mut String, one: &Placed<'_>) {
    let (left, top) = (one.x - BOX.0 / 2, one.y);
    writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" rx=\"8\" fill=\"#f6f8fa\" \
         stroke=\"#8c959f\"/>",
        BOX.0, BOX.1
    )
    .unwrap();
    let mut line = |y: i32, style: &str, text: &str| {
        let (x, text) = (one.x, text.replace('&', "&amp;"));
        writeln!(svg, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"middle\" {style}>{text}</text>")
            .unwrap();
    };
    line(
        top + 21,
        "font-size=\"15\" font-weight=\"600\" fill=\"#1f2328\"",
        short(&one.package.name),
    );
    let small = "font-size=\"11.5\" fill=\"#57606a\"";
    for (at, text) in (0..).zip(lines(&one.package.description)) {
        line(top + 39 + 15 * at, small, &text);
    }
}

fn lines(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= LINE {
            write!(last, " {word}").unwrap();
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}
