//! An expression of `match.conditions`: its validation and its evaluation, both pure.
//!
//! The parser comes from a crate. The evaluation does not, since users write the objects that expressions iterate over,
//! and authors of plugins write the expressions. Therefore each step has a cost, and an evaluation ends when it reaches
//! the limit. See `docs/adr/expression-evaluation.md`.

mod budget;
mod compile;
#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod differential;
mod equality;
mod evaluate;
mod functions;
mod node;
mod operators;
mod pattern;
#[cfg(test)]
mod tests;
mod value;

use std::{sync::Arc, thread};

use cel::Program;
use kube::{api::DynamicObject, core::ApiResource};
use serde_json::Value as Json;

pub(crate) use self::budget::Budget;
use self::{
    compile::Compiled,
    evaluate::Evaluation,
    node::Node,
    value::{Key, Shared, Value},
};
use crate::model::redact;

/// The maximum length of an expression in bytes. The API server has the same limit.
const MAX_LENGTH: usize = 1024;
/// The stack size of the parser's thread. Parsing is recursive, and the depth can be measured only after parsing.
const PARSER_STACK: usize = 64 << 20;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Expression {
    node: Arc<Node>,
    /// The memory that its patterns take, in KiB.
    pub(crate) memory: u64,
}

/// An object as expressions see it. The fields that requests to plugins omit are missing here, too.
pub(crate) struct Subject<'a> {
    resource: ApiResource,
    metadata: Json,
    data: &'a Json,
}

impl<'a> Subject<'a> {
    pub(crate) fn new(object: &'a DynamicObject, resource: ApiResource) -> Self {
        Self { resource, metadata: redact::metadata_json(object), data: &object.data }
    }

    /// Returns the object as a value. Only the names of its top-level fields are copied.
    fn value(&self) -> Value<'_> {
        let key = |name| Key::Text(Shared::Borrowed(name));
        let text = |text| Value::Text(Shared::Borrowed(text));
        let data = self.data.as_object().into_iter().flatten();
        let fields = data.map(|(name, value)| (key(name.as_str()), Value::of(value)));
        Value::map(fields.chain([
            (key("apiVersion"), text(self.resource.api_version.as_str())),
            (key("kind"), text(self.resource.kind.as_str())),
            (key("metadata"), Value::of(&self.metadata)),
        ]))
    }
}

/// The variables of one subject, in the order of [`compile::VARIABLES`].
pub(crate) struct Variables<'a>([Value<'a>; 3]);

impl<'a> Variables<'a> {
    /// Returns the variables for `object`, the Dask resource that owns it, and its component.
    pub(crate) fn new(object: &'a Subject<'_>, owner: &'a Subject<'_>, component: Option<&'a str>) -> Self {
        Self::of([object.value(), owner.value()], component)
    }

    fn of([object, owner]: [Value<'a>; 2], component: Option<&'a str>) -> Self {
        let component = component.map_or(Value::Null, |component| Value::Text(Shared::Borrowed(component)));
        Self([object, owner, component])
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn of_json(object: &'a Json, owner: &'a Json, component: Option<&'a str>) -> Self {
        Self::of([Value::of(object), Value::of(owner)], component)
    }
}

impl Expression {
    /// Compiles `text`. An error says in a few words what is wrong with it.
    pub(crate) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("it has {} bytes, and may have {MAX_LENGTH}", text.len()));
        }
        if nesting(text) > compile::MAX_DEPTH {
            return Err(format!("brackets may be nested {} deep", compile::MAX_DEPTH));
        }
        let text = text.to_owned();
        let parser = thread::Builder::new().stack_size(PARSER_STACK).spawn(move || parse(&text));
        let parsed = parser.map_err(|error| error.to_string())?.join();
        let Compiled { node, memory } = parsed.map_err(|_| "it cannot be parsed".to_owned())??;
        Ok(Self { node: Arc::new(node), memory })
    }

    /// Returns the result for one subject, or the reason why there is none.
    pub(crate) fn evaluate(&self, variables: &Variables<'_>, budget: &mut Budget) -> Result<bool, String> {
        match Evaluation::new(&variables.0, budget).value(&self.node) {
            Ok(Value::Bool(verdict)) => Ok(verdict),
            Ok(other) => Err(format!("it evaluates to {}, and not to a bool", other.type_name())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Returns how deep brackets outside string literals are nested. The parser has a limit too, but its message is of no
/// use to authors of conditions.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut quote) = (0_usize, 0, None);
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, quote) {
            ('\\', Some(_)) => drop(characters.next()),
            (character, Some(open)) if character == open => quote = None,
            ('\'' | '"', None) => quote = Some(character),
            ('(' | '[' | '{', None) => depth += 1,
            (')' | ']' | '}', None) => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Parses and compiles `text`. The AST is dropped on this thread, because dropping a deep tree recurses as well and
/// needs the large stack.
fn parse(text: &str) -> Result<Compiled, String> {
    let program = Program::compile(text).map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(|| "it is not an expression".to_owned(), |error| format!("{} at {}", error.msg, error.pos.1))
    })?;
    compile::compile(program.expression())
}
