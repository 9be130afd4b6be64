//! Compares our evaluation of expressions with that of the crate whose parser we use.
//!
//! Expressions whose results differ on purpose are left out: numbers of different types, fields of values that are not
//! maps, and maps that repeat a key. `max` and `min` are not in the crate.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use cel::{Context, Program, Value as Cel, objects::Key as CelKey};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::json;

use super::*;

fn to_cel(value: &Json) -> Cel {
    match value {
        Json::Null => Cel::Null,
        Json::Bool(bool) => Cel::Bool(*bool),
        Json::Number(number) => Cel::Int(number.as_i64().unwrap()),
        Json::String(text) => Cel::String(Arc::new(text.clone())),
        Json::Array(items) => Cel::List(Arc::new(items.iter().map(to_cel).collect())),
        Json::Object(fields) => {
            let map = fields.iter().map(|(key, value)| (CelKey::from(key.as_str()), to_cel(value))).collect();
            Cel::Map(cel::objects::Map { map: Arc::new(map) })
        }
    }
}

/// Returns the result of the crate's evaluation, or `None` if it fails.
fn theirs(text: &str, object: &Json) -> Option<bool> {
    let program = Program::compile(text).unwrap();
    let mut context = Context::default();
    context.add_variable_from_value("object", to_cel(object));
    let result = catch_unwind(AssertUnwindSafe(|| program.execute(&context)));
    match result.ok()?.ok()? {
        Cel::Bool(verdict) => Some(verdict),
        _ => None,
    }
}

fn object() -> impl Strategy<Value = Json> {
    let word = || "[ab]{0,3}";
    let optional = (option::of(word()), option::of(-3..4_i64));
    (word(), optional, -3..4_i64, vec(-3..4_i64, 0..4), vec(word(), 0..3)).prop_map(|(t, (s, m), n, l, w)| {
        let mut object = json!({"t": t, "n": n, "l": l, "w": w, "o": {"k": n, "t": t}});
        if let Some(s) = s {
            object["s"] = json!(s);
        }
        if let Some(m) = m {
            object["m"] = json!(m);
        }
        object
    })
}

/// Replaces `object.n` by the variable of a macro around it.
fn body(text: &str) -> String {
    text.replace("object.n", "x")
}

/// Expressions of each type.
#[derive(Clone, Debug)]
struct Parts {
    int: String,
    text: String,
    list: String,
    bool: String,
}

fn leaf() -> impl Strategy<Value = Parts> {
    let int = select(vec!["0", "1", "2", "-1", "object.n", "object.m", "object.o.k", "object.l[0]", "size(object.w)"]);
    let text = select(vec!["''", "'a'", "'ab'", "object.t", "object.s", "object.o['t']", "object.w[0]"]);
    let list = select(vec!["[]", "[1, 2]", "object.l", "[object.n]"]);
    let bool = select(vec!["true", "false", "has(object.s)", "has(object.m)", "'k' in object.o", "object.n > 0"]);
    (int, text, list, bool).prop_map(|(int, text, list, bool)| Parts {
        int: int.to_owned(),
        text: text.to_owned(),
        list: list.to_owned(),
        bool: bool.to_owned(),
    })
}

fn joined((a, b, c): (&Parts, &Parts, &Parts), pick: [usize; 4]) -> Parts {
    let ints = [
        format!("({} + {})", a.int, b.int),
        format!("({} - {})", a.int, b.int),
        format!("({} * {})", a.int, b.int),
        format!("({} / {})", a.int, b.int),
        format!("({} % {})", a.int, b.int),
        format!("-({})", a.int),
        format!("({} ? {} : {})", c.bool, a.int, b.int),
        format!("--({})", a.int),
        format!("size({})", a.list),
        format!("size({})", a.text),
        format!("({})[{}]", a.list, b.int),
    ];
    let texts = [
        format!("({} + {})", a.text, b.text),
        format!("string({})", a.int),
        format!("({} ? {} : {})", c.bool, a.text, b.text),
        format!("{{'a': {}, 'b': {}}}['a']", a.text, b.text),
    ];
    let lists = [
        format!("({} + {})", a.list, b.list),
        format!("[{}, {}]", a.int, b.int),
        format!("({}).map(x, {})", a.list, body(&b.int)),
        format!("({}).filter(x, {})", a.list, body(&b.bool)),
        format!("({}).map(x, {}, {})", a.list, body(&b.bool), body(&c.int)),
    ];
    let compare = ["<", "<=", ">", ">=", "==", "!="][pick[0] % 6];
    let bools = [
        format!("({} {compare} {})", a.int, b.int),
        format!("({} {compare} {})", a.text, b.text),
        format!("({} == {})", a.list, b.list),
        format!("({} in {})", a.int, b.list),
        format!("({}).contains({})", a.text, b.text),
        format!("({}).startsWith({})", a.text, b.text),
        format!("({}).endsWith({})", a.text, b.text),
        format!("({}).matches('^a*b?$')", a.text),
        format!("!({})", a.bool),
        format!("!!({})", a.bool),
        format!("({} && {})", a.bool, b.bool),
        format!("({} || {})", a.bool, b.bool),
        format!("({} ? {} : {})", c.bool, a.bool, b.bool),
        format!("({}).all(x, {})", a.list, body(&b.bool)),
        format!("({}).exists(x, {})", a.list, body(&b.bool)),
        format!("({}).exists_one(x, {})", a.list, body(&b.bool)),
    ];
    let one_of = |texts: &[String], pick: usize| texts[pick % texts.len()].clone();
    Parts {
        int: one_of(&ints, pick[0]),
        text: one_of(&texts, pick[1]),
        list: one_of(&lists, pick[2]),
        bool: one_of(&bools, pick[3]),
    }
}

fn expression() -> impl Strategy<Value = String> {
    let parts = leaf().prop_recursive(3, 24, 3, |inner| {
        (inner.clone(), inner.clone(), inner, any::<[usize; 4]>())
            .prop_map(|(a, b, c, pick)| joined((&a, &b, &c), pick))
    });
    parts.prop_map(|parts| parts.bool)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn expressions_mean_what_they_mean_to_the_crate(text in expression(), object in object()) {
        // Expressions that are nested too deep are refused.
        let Ok(expression) = Expression::compile(&text) else { return Ok(()) };
        let ours = expression.evaluate(&Variables::of_json(&object, &Json::Null, None), &mut Budget::new());
        let theirs = theirs(&text, &object);
        match (&ours, theirs) {
            (Ok(ours), Some(theirs)) => prop_assert_eq!(*ours, theirs),
            (Err(_), None) => {}
            (ours, theirs) => prop_assert!(false, "{ours:?}, and {theirs:?} in the crate"),
        }
    }
}
