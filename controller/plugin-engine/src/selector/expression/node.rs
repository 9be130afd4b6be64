//! A compiled expression: names are resolved, macros are recognised, and patterns are compiled.

use std::cmp::Ordering;

use super::{
    operators::{Binary, Unary},
    pattern::Pattern,
};

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Constant(Constant),
    /// A variable by its place: those of the subject first, then those of the macros around, from the outermost on.
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
    /// The place of the variable that each element gets.
    pub(crate) place: usize,
    pub(crate) body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    /// `all`: the test is true for each.
    All(Node),
    /// `exists`: the test is true for one at least.
    Exists(Node),
    /// `exists_one`: the test is true for one.
    ExistsOne(Node),
    /// `map` and `filter`: makes a list of what `element` is where `filter` is true.
    Collect { filter: Option<Node>, element: Node },
}
