//! Access to elements and attributes of domain XML, and the errors of parsing it.

use roxmltree::Node;
use thiserror::Error;

use nephometer_model::Exceeded;

/// Why the XML of a domain cannot be used. Affects this domain only.
#[derive(Debug, Error)]
pub(crate) enum XmlError {
    /// Larger than the limits allow.
    #[error(transparent)]
    TooMuch(#[from] Exceeded),
    /// Not well-formed XML.
    #[error("the domain XML cannot be parsed")]
    Syntax(#[from] roxmltree::Error),
    /// A required element or attribute is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// An element must be a number and is not.
    #[error("{what} is {text:?}; expected a whole number")]
    NotANumber {
        /// The element.
        what: &'static str,
        /// Its text.
        text: String,
    },
    /// `uuid` is not a UUID.
    #[error("uuid is {0:?}; expected a UUID")]
    NotAUuid(String),
}

pub(super) fn child<'a, 'i>(parent: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    children(parent, name).next()
}

pub(super) fn children<'a, 'i>(
    parent: Node<'a, 'i>,
    name: &str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    parent.children().filter(move |node| node.has_tag_name(name))
}

/// A required attribute. `what` names it in the error.
pub(super) fn attribute(
    node: Node<'_, '_>,
    name: &str,
    what: &'static str,
) -> Result<String, XmlError> {
    node.attribute(name).map(str::to_owned).ok_or(XmlError::Missing(what))
}
