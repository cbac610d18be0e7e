//! `nephometer graph`
//!
//! Reads the configuration files only. One file per format; each escapes the names that it writes.

mod dot;
mod mermaid;
mod model;
mod svg;
mod text;

use std::io::Write;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::args::Common;
use super::output;
use model::PipelineGraph;

/// Draw the pipeline: sources, sinks with their transformers, and publishers
///
/// Reads the configuration files; needs no running agent. Publishers are shown without the secrets of
/// their URLs.
#[derive(Debug, Args)]
pub(super) struct Graph {
    #[command(flatten)]
    common: Common,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = GraphFormat::Text)]
    format: GraphFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum GraphFormat {
    /// A tree of at most 80 columns
    Text,
    /// The language of Graphviz
    Dot,
    /// The language of Mermaid, which Markdown pages can contain
    Mermaid,
    /// A picture for light and dark pages
    Svg,
}

impl Graph {
    pub(super) fn execute(self) -> Result<()> {
        let graph = PipelineGraph::new(&self.common.load()?.pipeline);
        let mut out = output::stdout();
        let drawn = match self.format {
            GraphFormat::Text => text::tree(&graph),
            GraphFormat::Dot => dot::digraph(&graph),
            GraphFormat::Mermaid => mermaid::flowchart(&graph),
            GraphFormat::Svg => svg::picture(&graph),
        };
        out.write_all(drawn.as_bytes())?;
        Ok(out.flush()?)
    }
}
