//! A kind together with what its objects look like.

use super::Gvk;
use super::structure::Structure;
use super::table::Type;

/// A kind, and what its objects look like: what checks, normal forms and patches need to know of it.
///
/// Made from a [`Gvk`] it knows what the table of built-in kinds knows; of other kinds only the metadata.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    /// Its name.
    pub gvk: Gvk<'a>,
    pub(crate) root: Type,
}

impl<'a> Kind<'a> {
    /// A kind that a CustomResourceDefinition made.
    pub(crate) fn custom(gvk: Gvk<'a>, structure: &'static Structure) -> Self {
        Self { gvk, root: Type::Custom(structure) }
    }
}

impl<'a> From<Gvk<'a>> for Kind<'a> {
    fn from(gvk: Gvk<'a>) -> Self {
        Self { gvk, root: Type::of_kind(gvk) }
    }
}
