//! Compiles a parsed expression. Errors that could otherwise occur only at evaluation are reported here if possible.

use std::cmp::Ordering;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, MapExpr, operators};

use super::{
    functions,
    node::{Body, Constant, Macro, Node},
    operators as operations,
    pattern::Pattern,
};

/// The variables that an expression may use. The index of each is its place.
pub(crate) const VARIABLES: [&str; 3] = ["object", "owner", "component"];
/// The maximum depth of an expression. Compilation and evaluation are recursive, and the stack is small.
pub(crate) const MAX_DEPTH: usize = 48;
/// The maximum number of nested macros. Each level multiplies the cost.
const MAX_NESTING: usize = 2;
/// The maximum number of patterns. Each takes time to compile.
const MAX_PATTERNS: usize = 4;

/// A compiled expression.
pub(crate) struct Compiled {
    pub(crate) node: Node,
    /// The memory that its patterns take, in KiB.
    pub(crate) memory: u64,
}

/// Compiles a parsed expression. An error says in a few words what is wrong with it.
pub(crate) fn compile(parsed: &IdedExpr) -> Result<Compiled, String> {
    let mut compiler = Compiler { names: VARIABLES.map(str::to_owned).to_vec(), patterns: 0, memory: 0 };
    let node = compiler.node(parsed, 1)?;
    Ok(Compiled { node, memory: compiler.memory })
}

struct Compiler {
    /// The variables in scope, indexed by place.
    names: Vec<String>,
    patterns: usize,
    memory: u64,
}

impl Compiler {
    fn node(&mut self, part: &IdedExpr, depth: usize) -> Result<Node, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it is more than {MAX_DEPTH} levels deep"));
        }
        match &part.expr {
            Expr::Literal(literal) => Ok(Node::Constant(constant(literal))),
            Expr::Ident(name) => self.variable(name),
            Expr::Call(call) => self.call(call, depth + 1),
            Expr::Select(select) => {
                let operand = Box::new(self.node(&select.operand, depth + 1)?);
                let make = if select.test { Node::Has } else { Node::Select };
                Ok(make(operand, select.field.clone()))
            }
            Expr::List(list) => self.nodes(&list.elements, depth + 1).map(Node::List),
            Expr::Map(map) => self.map(map, depth + 1),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, depth + 1),
            Expr::Struct(_) => Err("it creates a message".to_owned()),
            Expr::Unspecified => Err("it is not an expression".to_owned()),
        }
    }

    fn nodes<'p>(&mut self, parts: impl IntoIterator<Item = &'p IdedExpr>, depth: usize) -> Result<Vec<Node>, String> {
        parts.into_iter().map(|part| self.node(part, depth)).collect()
    }

    /// Returns the innermost variable with this name.
    fn variable(&self, name: &str) -> Result<Node, String> {
        let place = self.names.iter().rposition(|known| known == name);
        place.map(Node::Variable).ok_or_else(|| format!("there is no variable {name}, but {}", VARIABLES.join(", ")))
    }

    fn map(&mut self, map: &MapExpr, depth: usize) -> Result<Node, String> {
        let entries = map.entries.iter().map(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => Ok((self.node(&entry.key, depth)?, self.node(&entry.value, depth)?)),
            EntryExpr::StructField(_) => Err("it creates a message".to_owned()),
        });
        entries.collect::<Result<_, _>>().map(Node::Map)
    }

    fn call(&mut self, call: &CallExpr, depth: usize) -> Result<Node, String> {
        let name = call.func_name.as_str();
        if name == "matches" {
            return self.matches(call, depth);
        }
        let parts = self.nodes(call.target.iter().map(AsRef::as_ref).chain(&call.args), depth)?;
        let count = parts.len();
        match (name, <[Node; 1]>::try_from(parts)) {
            ("max", parts) => Ok(Node::Extreme(Ordering::Greater, parts.map_or_else(|parts| parts, Vec::from))),
            ("min", parts) => Ok(Node::Extreme(Ordering::Less, parts.map_or_else(|parts| parts, Vec::from))),
            (name, Ok([operand])) => {
                let operation = operations::unary(name).or_else(|| functions::unary(name));
                operation.map(|operation| Node::Unary(operation, Box::new(operand))).ok_or_else(|| unknown(name, count))
            }
            (name, Err(parts)) => match (name, <[Node; 3]>::try_from(parts)) {
                (operators::CONDITIONAL, Ok(parts)) => Ok(Node::Conditional(Box::new(parts))),
                (name, parts) => {
                    let parts = parts.map_or_else(|parts| parts, Vec::from);
                    let Ok(parts) = <[Node; 2]>::try_from(parts) else { return Err(unknown(name, count)) };
                    binary(name, parts)
                }
            },
        }
    }

    fn matches(&mut self, call: &CallExpr, depth: usize) -> Result<Node, String> {
        let parts: Vec<&IdedExpr> = call.target.iter().map(AsRef::as_ref).chain(&call.args).collect();
        let [text, pattern] = parts[..] else { return Err(unknown("matches", parts.len())) };
        // The cost of the pattern must be known before evaluation.
        let Expr::Literal(LiteralValue::String(pattern)) = &pattern.expr else {
            return Err("the pattern of matches must be a literal".to_owned());
        };
        self.patterns += 1;
        if self.patterns > MAX_PATTERNS {
            return Err(format!("it has more than {MAX_PATTERNS} patterns"));
        }
        let pattern = Pattern::compile(pattern.inner())?;
        self.memory += pattern.memory();
        Ok(Node::Matches(Box::new(self.node(text, depth)?), pattern))
    }

    /// Compiles a macro. The parser turns macros into loops with an accumulator, and nothing else becomes a loop.
    fn comprehension(&mut self, looped: &ComprehensionExpr, depth: usize) -> Result<Node, String> {
        let range = self.node(&looped.iter_range, depth)?;
        let place = self.names.len();
        if place == VARIABLES.len() + MAX_NESTING {
            return Err(format!("macros may be nested {MAX_NESTING} deep"));
        }
        self.names.push(looped.iter_var.clone());
        let body = self.body(looped, depth + 1);
        self.names.truncate(place);
        Ok(Node::Macro(Box::new(Macro { range, place, body: body? })))
    }

    fn body(&mut self, looped: &ComprehensionExpr, depth: usize) -> Result<Body, String> {
        let unknown = || "it has an unknown macro".to_owned();
        let Expr::Call(step) = &looped.loop_step.expr else { return Err(unknown()) };
        let is_list = matches!(&looped.accu_init.expr, Expr::List(list) if list.elements.is_empty());
        match (step.func_name.as_str(), &step.args[..]) {
            (operators::LOGICAL_AND, [_, test]) => self.node(test, depth).map(Body::All),
            (operators::LOGICAL_OR, [_, test]) => self.node(test, depth).map(Body::Exists),
            (operators::ADD, sum) if is_list => {
                let element = self.node(appended(sum).ok_or_else(unknown)?, depth)?;
                Ok(Body::Collect { filter: None, element })
            }
            (operators::CONDITIONAL, [filter, then, _]) => {
                let filter = self.node(filter, depth)?;
                let Expr::Call(CallExpr { args, .. }) = &then.expr else { return Err(unknown()) };
                match appended(args).filter(|_| is_list) {
                    Some(element) => Ok(Body::Collect { filter: Some(filter), element: self.node(element, depth)? }),
                    None => Ok(Body::ExistsOne(filter)),
                }
            }
            _ => Err(unknown()),
        }
    }
}

/// Returns `x` from `accumulator + [x]`.
fn appended(sum: &[IdedExpr]) -> Option<&IdedExpr> {
    match sum {
        [_, IdedExpr { expr: Expr::List(list), .. }] => list.elements.first(),
        _ => None,
    }
}

fn binary(name: &str, parts: [Node; 2]) -> Result<Node, String> {
    let parts = Box::new(parts);
    match name {
        operators::LOGICAL_AND => Ok(Node::And(parts)),
        operators::LOGICAL_OR => Ok(Node::Or(parts)),
        name => {
            let operation = operations::binary(name).or_else(|| functions::binary(name));
            operation.map(|operation| Node::Binary(operation, parts)).ok_or_else(|| unknown(name, 2))
        }
    }
}

fn unknown(name: &str, count: usize) -> String {
    let is_known = name == "matches" || functions::unary(name).is_some() || functions::binary(name).is_some();
    if is_known {
        return format!("{name} does not take {count} arguments");
    }
    format!("there is no function {name}")
}

fn constant(literal: &LiteralValue) -> Constant {
    match literal {
        LiteralValue::Null => Constant::Null,
        LiteralValue::Boolean(bool) => Constant::Bool(*bool.inner()),
        LiteralValue::Int(number) => Constant::Int(*number.inner()),
        LiteralValue::UInt(number) => Constant::Uint(*number.inner()),
        LiteralValue::Double(number) => Constant::Double(*number.inner()),
        LiteralValue::String(text) => Constant::Text(text.inner().to_owned()),
        LiteralValue::Bytes(bytes) => Constant::Bytes(bytes.inner().to_vec()),
    }
}
