//! Builds a tree of values with locations from the parser's events. Resolves aliases and merges;
//! their values keep the location where they were written.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, StrInput, Tag};

use super::indent::Indented;
use super::node::{Data, Entries, Entry, Node};
use super::scalar;
use crate::error::{Problem, exceeded, problem};
use crate::location::Location;
use nephometer_model::Bound;

/// Parses the single document in `text`. Duplicate keys are warnings; the last one wins.
pub(super) fn read(
    text: &str,
    file: &Arc<str>,
    warnings: &mut Vec<Problem>,
) -> Result<Node, Problem> {
    let mut indented = Indented::new(text);
    let mut again = 0;
    loop {
        let mut builder = Builder {
            parser: Parser::new_from_str(indented.text()),
            text,
            indented: &indented,
            file,
            anchors: HashMap::new(),
            values: 0,
            bytes: 0,
            deepest: 0,
            warnings: Vec::new(),
            stumbled: None,
        };
        let read = builder.document();
        let (stumbled, found) = (builder.stumbled, builder.warnings);
        if let Some((fault, line)) = stumbled
            && indented.mend(&fault, line)
        {
            again += indented.text().len();
            let location = Location { file: file.clone(), line, column: 1 };
            Bound::YamlReads.check(again).map_err(|error| exceeded(&location, error))?;
            continue;
        }
        warnings.extend(found);
        return read;
    }
}

type Read = Result<Node, Problem>;

/// An anchored value, and what each of its aliases adds to the totals.
struct Anchored {
    node: Node,
    values: usize,
    bytes: usize,
    /// The number of nested levels inside it.
    height: usize,
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// The original text.
    text: &'a str,
    /// The text for the parser.
    indented: &'a Indented,
    file: &'a Arc<str>,
    /// By the anchor numbers of the parser.
    anchors: HashMap<usize, Anchored>,
    /// The number of values so far, including those of aliases.
    values: usize,
    /// The size of all texts so far, including those of aliases.
    bytes: usize,
    /// The deepest level of the current value.
    deepest: usize,
    warnings: Vec<Problem>,
    /// The parser's error and its line.
    stumbled: Option<(String, usize)>,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Read {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::DocumentStart(_) if root.is_some() => {
                    return Err(problem(
                        &self.location(span.start),
                        "a second document begins here",
                        "keep one document in a file",
                    ));
                }
                Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                event => root = Some(self.node(event, span, 0)?),
            }
        }
        let start = Location { file: self.file.clone(), line: 1, column: 1 };
        Ok(root.unwrap_or(Node { location: start, data: Data::Null }))
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(found)) => Ok(found),
            Some(Err(error)) => {
                let location = self.location(*error.marker());
                self.stumbled = Some((error.info().to_owned(), location.line));
                let line = self.text.lines().nth(location.line.saturating_sub(1)).unwrap_or("");
                Err(problem(
                    &location,
                    format!("invalid YAML: {}", error.info()),
                    remedy(error.info(), line),
                ))
            }
            None => {
                let location = Location { file: self.file.clone(), line: 1, column: 1 };
                Err(problem(&location, "the file ends too early", "complete it"))
            }
        }
    }

    fn location(&self, marker: Marker) -> Location {
        let line = marker.line();
        let column = self.indented.column(line, marker.col() + 1);
        Location { file: self.file.clone(), line, column }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Read {
        let location = self.location(span.start);
        if let Event::Alias(id) = event {
            return self.alias(id, depth, &location);
        }
        let (values, bytes) = (self.values, self.bytes);
        let context = std::mem::replace(&mut self.deepest, depth);
        self.count(1, 0, depth, &location)?;
        let (anchor, data) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.count(0, text.len(), depth, &location)?;
                (anchor, self.scalar(&text, style, tag.as_deref(), &location)?)
            }
            Event::SequenceStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), &["seq", "omap", "pairs"], &location)?;
                (anchor, Data::List(Arc::new(self.list(depth)?)))
            }
            Event::MappingStart(anchor, tag) => {
                self.collection_tag(tag.as_deref(), &["map", "set"], &location)?;
                (anchor, Data::Map(Arc::new(self.map(depth)?)))
            }
            other => {
                return Err(problem(
                    &location,
                    format!("invalid YAML: {other:?} is out of place"),
                    "correct the text around it",
                ));
            }
        };
        let node = Node { location, data };
        if anchor > 0 {
            let anchored = Anchored {
                node: node.clone(),
                values: self.values - values,
                bytes: self.bytes - bytes,
                height: self.deepest - depth,
            };
            self.anchors.insert(anchor, anchored);
        }
        self.deepest = self.deepest.max(context);
        Ok(node)
    }

    /// Counts a value before it is added, and checks the bounds.
    fn count(
        &mut self,
        values: usize,
        bytes: usize,
        level: usize,
        location: &Location,
    ) -> Result<(), Problem> {
        self.values += values;
        self.bytes += bytes;
        self.deepest = self.deepest.max(level);
        let values = Bound::YamlValues.check(self.values);
        let bytes = Bound::YamlBytes.check(self.bytes);
        let depth = Bound::YamlDepth.check(level);
        values.and(bytes).and(depth).map_err(|error| exceeded(location, error))
    }

    fn alias(&mut self, id: usize, depth: usize, location: &Location) -> Read {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(problem(
                location,
                "this alias refers to a value that contains it",
                "refer to a value that is complete",
            ));
        };
        let &Anchored { values, bytes, height, .. } = anchored;
        self.count(values, bytes, depth + height, location)?;
        Ok(self.anchors[&id].node.clone())
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        location: &Location,
    ) -> Result<Data, Problem> {
        let found = match tag {
            Some(tag) if !is_nonspecific(tag) => {
                match core(tag).and_then(|name| scalar::tagged(name, text)) {
                    Some(found) => found,
                    None => return Err(unknown_tag(tag, location)),
                }
            }
            // PyYAML treats a lone `!` as no tag.
            _ if style == ScalarStyle::Plain => scalar::plain(text),
            _ => Ok(Data::Text(text.to_owned())),
        };
        found.map_err(|what| problem(location, what, "put it in quotes if it is text"))
    }

    fn collection_tag(
        &self,
        tag: Option<&Tag>,
        known: &[&str],
        location: &Location,
    ) -> Result<(), Problem> {
        match tag {
            Some(tag) if !is_nonspecific(tag) && !core(tag).is_some_and(|t| known.contains(&t)) => {
                Err(unknown_tag(tag, location))
            }
            _ => Ok(()),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Entries, Problem> {
        let (mut merged, mut own) = (Entries::default(), Entries::default());
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                break;
            }
            let merges = is_merge(&event);
            let key = if merges {
                Node { location: self.location(span.start), data: Data::Text("<<".to_owned()) }
            } else {
                self.node(as_key(event), span, depth + 1)?
            };
            let (event, span) = self.next()?;
            let empty = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, 0, None) if text.is_empty());
            let mut value = self.node(event, span, depth + 1)?;
            if empty {
                // An empty value has no location of its own, so it gets that of its key.
                value.location = key.location.clone();
            }
            if merges {
                merge(&mut merged, &value)?;
                continue;
            }
            let (key, key_place) = (key_text(&key)?, key.location);
            if own.get(&key).is_some() && self.warnings.len() < Bound::Problems.size() {
                self.warnings.push(problem(
                    &key_place,
                    format!("duplicate key {key:?}"),
                    "the last one is used, remove the other",
                ));
            }
            own.put(Entry { key, key_place, value });
        }
        if merged.is_empty() {
            return Ok(own);
        }
        for entry in own.iter() {
            merged.put(entry.clone());
        }
        Ok(merged)
    }
}

fn is_merge(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
}

/// A plain `=` is text as a key, and invalid elsewhere.
fn as_key(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, anchor, None) if text == "=" => {
            Event::Scalar(text, ScalarStyle::SingleQuoted, anchor, None)
        }
        other => other,
    }
}

/// Merges `<<: *one` or `<<: [*one, *two]`; the earlier one of a list wins.
fn merge(into: &mut Entries, value: &Node) -> Result<(), Problem> {
    let mut put = |entries: &Entries| {
        for entry in entries.iter() {
            into.put(entry.clone());
        }
    };
    match &value.data {
        Data::Map(entries) => put(entries),
        Data::List(items) => {
            for item in items.iter().rev() {
                match &item.data {
                    Data::Map(entries) => put(entries),
                    _ => return Err(no_merge(&item.location)),
                }
            }
        }
        _ => return Err(no_merge(&value.location)),
    }
    Ok(())
}

fn no_merge(location: &Location) -> Problem {
    problem(
        location,
        "what \"<<\" merges is not a mapping",
        "merge a mapping or a list of mappings",
    )
}

fn key_text(key: &Node) -> Result<String, Problem> {
    Ok(match &key.data {
        Data::Null => "null".to_owned(),
        Data::Bool(value) => value.to_string(),
        Data::Int(value) => value.to_string(),
        Data::Float(value) => format!("{value:?}"),
        Data::Text(text) | Data::Date(text) | Data::Binary(text) => text.clone(),
        Data::List(_) | Data::Map(_) => {
            return Err(problem(
                &key.location,
                "a list or a mapping cannot be a key",
                "put quotes around it if it is text",
            ));
        }
    })
}

fn is_nonspecific(tag: &Tag) -> bool {
    format!("{}{}", tag.handle, tag.suffix) == "!"
}

/// The name of a standard YAML tag.
fn core(tag: &Tag) -> Option<&str> {
    match tag.handle.as_str() {
        "" | "!" => tag.suffix.strip_prefix("tag:yaml.org,2002:"),
        "tag:yaml.org,2002:" => Some(&tag.suffix),
        _ => None,
    }
}

fn unknown_tag(tag: &Tag, location: &Location) -> Problem {
    let tag = format!("{}{}", tag.handle, tag.suffix);
    problem(
        location,
        format!("unsupported tag {tag:?}"),
        "leave it out, or put quotes around the text if the exclamation mark is part of it",
    )
}

/// The most likely remedy for a syntax error.
fn remedy(info: &str, line: &str) -> &'static str {
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') || info.contains("tab") {
        "indent with spaces, not with tabs"
    } else if info.contains("unknown anchor") {
        "write &NAME before the value that *NAME refers to, or put quotes around the text"
    } else if line.trim_start().starts_with("- *") || line.contains(": *") {
        "put quotes around text that begins with *"
    } else if info.contains("mapping values") || info.contains("simple key") {
        "put quotes around text that contains a colon, and check the indentation"
    } else if info.contains("quoted scalar") || info.contains("quote") {
        "close the quotes"
    } else if info.contains("flow") || info.contains("',' or") {
        "close the brackets and put commas between the items"
    } else {
        "check indentation, quotes and brackets here and in the line above"
    }
}
