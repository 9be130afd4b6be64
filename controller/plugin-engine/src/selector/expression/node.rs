//! The nodes of a compiled expression. Names are resolved, macros are recognised, and patterns are compiled.

use std::cmp::Ordering;

use super::{
    operators::{Binary, Unary},
    pattern::Pattern,
};

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Constant),
    /// A variable by its place. The subject's variables come first, then those of the enclosing macros from the
    /// outermost to the innermost.
    Variable(usize),
    Select(Box<Self>, String),
    Has(Box<Self>, String),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    Conditional(Box<[Self; 3]>),
    Unary(Unary, Box<Self>),
    Binary(Binary, Box<[Self; 2]>),
    Matches(Box<Self>, Pattern),
    /// `max` or `min`.
    Extreme(Ordering, Vec<Self>),
    Macro(Box<Macro>),
}

#[derive(Clone, Debug)]
pub(crate) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// A macro over the elements of a list, or the keys of a map.
#[derive(Clone, Debug)]
pub(crate) struct Macro {
    pub(crate) range: Node,
    /// The place of the variable that holds the current element.
    pub(crate) place: usize,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// `all`: the test is true for every element.
    All(Node),
    /// `exists`: the test is true for at least one element.
    Exists(Node),
    /// `exists_one`: the test is true for exactly one element.
    ExistsOne(Node),
    /// `map` and `filter`: collects the values of `element` for which `filter` is true.
    Collect { filter: Option<Node>, element: Node },
}
