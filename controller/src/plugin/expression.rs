//! One expression of `match.conditions`: what is let through at validation, and its evaluation; pure.
//!
//! CEL has no loops, but macros may be nested over long lists. Length, depth and nesting are bounded, so that an
//! expression cannot keep a worker busy without end; what panics is an error like any other.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    thread,
};

use cel::{
    Context, Program, Value as Cel,
    common::ast::{EntryExpr, Expr, IdedExpr},
    objects::Key,
};
use serde_json::Value;

/// What an expression may speak of.
const VARIABLES: [&str; 3] = ["object", "owner", "component"];
/// What it may call, besides operators and macros.
const FUNCTIONS: [&str; 12] =
    ["bytes", "contains", "double", "endsWith", "int", "matches", "max", "min", "size", "startsWith", "string", "uint"];
/// The API server has the same bound.
const MAX_LENGTH: usize = 1024;
/// Evaluation is recursive, and a stack is small.
const MAX_DEPTH: usize = 48;
/// Parsing is recursive too, and only what is parsed can be measured.
const PARSER_STACK: usize = 64 << 20;
/// Macros within macros: each one multiplies the time.
const MAX_NESTING: usize = 2;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(super) struct Expression(Arc<Program>);

/// The variables of one subject.
pub(super) struct Variables(Context<'static>);

impl Variables {
    /// Those of `object`, the Dask resource above it and its component.
    pub(super) fn new(object: &Value, owner: &Value, component: Option<&str>) -> Self {
        let mut context = Context::default();
        context.add_variable_from_value("object", to_cel(object));
        context.add_variable_from_value("owner", to_cel(owner));
        let component = component.map_or(Cel::Null, |component| Cel::String(Arc::new(component.to_owned())));
        context.add_variable_from_value("component", component);
        Self(context)
    }
}

impl Expression {
    /// Compiles `text`, or says in a few words what is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LENGTH {
            return Err(format!("it has {} bytes, and may have {MAX_LENGTH}", text.len()));
        }
        let text = text.to_owned();
        let parser = thread::Builder::new().stack_size(PARSER_STACK).spawn(move || parse(&text));
        let parsed = parser.map_err(|error| error.to_string())?.join();
        parsed.map_err(|_| "it cannot be parsed".to_owned())?.map(Self)
    }

    /// What it says of one subject.
    pub(super) fn evaluate(&self, variables: &Variables) -> Result<bool, String> {
        match guarded(|| self.0.execute(&variables.0))? {
            Ok(Cel::Bool(verdict)) => Ok(verdict),
            Ok(other) => Err(format!("it evaluates to {}, and not to a bool", other.type_of())),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The whole tree must go where it was made if it is refused: a deep one takes much of a stack to drop, too.
fn parse(text: &str) -> Result<Arc<Program>, String> {
    let program = Program::compile(text).map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(|| "it is no expression".to_owned(), |error| format!("{} at {}", error.msg, error.pos.1))
    })?;
    check(program.expression())?;
    Ok(Arc::new(program))
}

/// The crate panics where it has not got all of the language yet.
fn guarded<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| "it cannot be evaluated".to_owned())
}

/// Whole numbers become `int`, as literals in expressions are: CEL does not take 1 and 1u for equal.
fn to_cel(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(bool) => Cel::Bool(*bool),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cel::Int(whole),
            (None, Some(float)) => Cel::Float(float),
            (None, None) => Cel::Null,
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(to_cel).collect())),
        Value::Object(fields) => {
            let map = fields.iter().map(|(key, value)| (Key::from(key.as_str()), to_cel(value))).collect();
            Cel::Map(cel::objects::Map { map: Arc::new(map) })
        }
    }
}

/// Where a part of an expression stands.
#[derive(Clone)]
struct Place {
    depth: usize,
    /// Macros around it.
    nesting: usize,
    /// The variables of these macros.
    local: Option<Rc<Local>>,
}

struct Local {
    names: Vec<String>,
    outer: Option<Rc<Self>>,
}

impl Place {
    fn knows(&self, name: &str) -> bool {
        let mut local = self.local.as_ref();
        while let Some(here) = local {
            if here.names.iter().any(|known| known == name) {
                return true;
            }
            local = here.outer.as_ref();
        }
        VARIABLES.contains(&name)
    }
}

/// Refuses what can only fail later. Not recursive, since depth is one of the things that it bounds.
fn check(expression: &IdedExpr) -> Result<(), String> {
    let mut open = vec![(expression, Place { depth: 1, nesting: 0, local: None })];
    while let Some((part, place)) = open.pop() {
        if place.depth > MAX_DEPTH {
            return Err(format!("it is more than {MAX_DEPTH} levels deep"));
        }
        if place.nesting > MAX_NESTING {
            return Err(format!("macros may be nested {MAX_NESTING} deep"));
        }
        let below = Place { depth: place.depth + 1, ..place.clone() };
        match &part.expr {
            Expr::Literal(_) => {}
            Expr::Ident(name) if place.knows(name) => {}
            Expr::Ident(name) => {
                return Err(format!("there is no variable {name}, but {}", VARIABLES.join(", ")));
            }
            Expr::Call(call) if is_known(&call.func_name) => {
                let parts = call.target.iter().map(AsRef::as_ref).chain(&call.args);
                open.extend(parts.map(|part| (part, below.clone())));
            }
            Expr::Call(call) => return Err(format!("there is no function {}", call.func_name)),
            Expr::Select(select) => open.push((&select.operand, below)),
            Expr::List(list) => open.extend(list.elements.iter().map(|part| (part, below.clone()))),
            Expr::Map(map) => {
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { return Err("it makes a message".to_owned()) };
                    open.extend([(&entry.key, below.clone()), (&entry.value, below.clone())]);
                }
            }
            Expr::Comprehension(comprehension) => {
                let names =
                    [Some(&comprehension.iter_var), comprehension.iter_var2.as_ref(), Some(&comprehension.accu_var)];
                let names = names.into_iter().flatten().cloned().collect();
                let local = Some(Rc::new(Local { names, outer: place.local.clone() }));
                let inner = Place { nesting: place.nesting + 1, local, ..below.clone() };
                open.extend([(&comprehension.iter_range, below.clone()), (&comprehension.accu_init, below)]);
                let parts = [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result];
                open.extend(parts.map(|part| (part, inner.clone())));
            }
            Expr::Struct(_) => return Err("it makes a message".to_owned()),
            Expr::Unspecified => return Err("it is no expression".to_owned()),
        }
    }
    Ok(())
}

/// Operators are functions whose names nobody can write.
fn is_known(function: &str) -> bool {
    FUNCTIONS.contains(&function) || !function.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn variables() -> Variables {
        let object = json!({
            "metadata": {"name": "demo", "labels": {"team": "a"}},
            "spec": {"replicas": 2, "share": 0.5, "ports": [{"port": 1}, {"port": 2}], "nothing": null},
        });
        let owner = json!({"kind": "DaskCluster", "spec": {"idleTimeout": 0}});
        Variables::new(&object, &owner, Some("scheduler"))
    }

    fn evaluate(text: &str) -> Result<bool, String> {
        Expression::compile(text).unwrap_or_else(|error| panic!("{text}: {error}")).evaluate(&variables())
    }

    #[test]
    fn expressions_see_the_object_its_owner_and_its_component() {
        let table = [
            ("true", true),
            ("object.metadata.labels.team == 'a'", true),
            ("object.metadata.labels['team'] in ['b', 'c']", false),
            ("'team' in object.metadata.labels", true),
            ("has(object.metadata.labels.other)", false),
            ("object.spec.replicas == 2 && object.spec.replicas > 1", true),
            ("object.spec.share < 1.0", true),
            ("object.spec.nothing == null", true),
            ("owner.kind == 'DaskCluster' && owner.spec.idleTimeout == 0", true),
            ("component == 'scheduler'", true),
            ("component.startsWith('s') && component.matches('^sch.*r$')", true),
            ("object.spec.ports.exists(p, p.port == 2) && object.spec.ports.all(p, p.port < 3)", true),
            ("size(object.spec.ports.filter(p, p.port > 1)) == 1", true),
            ("object.spec.ports.map(p, p.port + 1) == [2, 3]", true),
            ("object.spec.replicas > 5 ? false : true", true),
        ];
        for (text, expected) in table {
            assert_eq!(evaluate(text), Ok(expected), "{text}");
        }
        let nothing = Variables::new(&json!({}), &json!({}), None);
        assert_eq!(Expression::compile("component == null").unwrap().evaluate(&nothing), Ok(true));
    }

    #[test]
    fn what_cannot_be_said_of_a_subject_is_an_error_and_not_false() {
        for text in [
            "object.metadata.annotations.x == 'a'",
            "object.metadata.labels.other == 'a'",
            "object.spec.ports[7].port == 1",
            "1 / 0 == 1",
        ] {
            assert!(evaluate(text).is_err(), "{text}");
        }
        assert_eq!(evaluate("object.metadata.name").unwrap_err(), "it evaluates to string, and not to a bool");
        assert_eq!(evaluate("object.spec.replicas").unwrap_err(), "it evaluates to int, and not to a bool");
    }

    #[test]
    fn what_can_only_fail_is_refused_before_it_is_used() {
        let table = [
            ("", ""),
            ("object.", ""),
            ("object ==", ""),
            ("subject.metadata.name == 'a'", "there is no variable subject, but object, owner, component"),
            ("object.spec.ports.all(p, q.port == 1)", "there is no variable q, but object, owner, component"),
            ("object.spec.ports.all(p, p.port == 1) && p == 1", "there is no variable p, but object, owner, component"),
            ("exec('rm')", "there is no function exec"),
            ("object.metadata.name.reverse() == 'a'", "there is no function reverse"),
            ("Foo{a: 1} == Foo{a: 1}", "it makes a message"),
        ];
        for (text, expected) in table {
            let error = Expression::compile(text).map(drop).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
            assert!(!error.contains('\n'), "{error:?} is one line");
        }
    }

    /// A stack that overflows ends the process, and nested macros can take for ever.
    #[test]
    fn length_depth_and_nesting_are_bounded_without_overflowing_the_stack() {
        let fill = |unit: &str, around: (&str, &str)| {
            let count = (MAX_LENGTH - around.0.len() - around.1.len()) / unit.len();
            format!("{}{}{}", around.0, unit.repeat(count), around.1)
        };
        let half = (MAX_LENGTH - 1) / 2;
        let texts = [
            fill("1", ("'", "'11")),
            fill(".a", ("object", "")),
            fill("+1", ("1", "")),
            fill("[0]", ("object", "")),
            fill("!", ("", "true")),
            fill("-", ("", "1")),
            fill("true?true:", ("", "true")),
            fill(".all(a,", ("[]", "")),
            format!("{}1{}", "(".repeat(half), ")".repeat(half)),
            format!("{}{}", "[".repeat(half), "]".repeat(half)),
            format!("{}{}", "{1:".repeat(MAX_LENGTH / 4), "}".repeat(MAX_LENGTH / 4)),
            "[1].all(a, [1].all(b, [1].all(c, true)))".to_owned(),
        ];
        for text in texts {
            if let Ok(expression) = Expression::compile(&text) {
                // What is let through must be evaluated within the stack of a worker.
                drop(expression.evaluate(&variables()));
                assert!(text.starts_with(['!', '-', '(']), "{text}");
            }
        }
        let and = vec!["true"; 120].join(" && ");
        assert_eq!(evaluate(&and), Ok(true), "a long list of alternatives is not deep");
        assert!(Expression::compile("[1].all(a, [1].all(b, a == b))").is_ok());
        assert!(Expression::compile(&format!("'{}'", "a".repeat(MAX_LENGTH))).is_err());
    }
}
