//! Tests of the cost of evaluations. Costs are counted, so no test measures time.

use std::mem;

use serde_json::json;

use super::*;

const LIMIT: u64 = 1_000_000;

/// Returns the result of `text` for `object`, and its cost.
fn cost(text: &str, object: &Json) -> (Result<bool, String>, u64) {
    let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut budget = Budget::new();
    let result = expression.evaluate(&Variables::of_json(object, &Json::Null, None), &mut budget);
    (result, budget.spent())
}

#[track_caller]
fn refused(text: &str, object: &Json) {
    let (result, spent) = cost(text, object);
    let error = result.unwrap_err();
    assert!(error.starts_with("it costs more than 1000000 units for this object: "), "{text}: {error}");
    assert!(spent <= LIMIT, "{text}: {spent}");
}

#[test]
fn macros_over_long_lists_are_refused_as_soon_as_they_cost_too_much() {
    let long = json!({"x": vec![0; 500_000], "m": {}});
    for text in [
        "object.x.all(a, object.x.all(b, true))",
        "object.x.exists(a, object.x.exists(b, false))",
        "object.x.map(a, object.x.map(b, b)) == []",
        "size(object.x.filter(a, true)) == 1",
        "size(object.x.map(a, a)) == 500000 && size(object.x.map(a, a)) == 500000",
        "object.x.all(a, a in object.x.map(b, b + 1))",
        "object.x + object.x + object.x == object.x",
        "object.x.all(a, max(object.x) == 0)",
    ] {
        refused(text, &long);
    }
    let map: serde_json::Map<String, Json> = (0..200_000).map(|n| (n.to_string(), json!(n))).collect();
    refused("object.m.all(a, a in object.m.map(b, b))", &json!({"m": map}));
}

#[test]
fn one_macro_costs_as_much_as_its_list_is_long() {
    for text in ["size(object.x.filter(a, true)) > 0", "object.x.map(a, a + 1) != []", "object.x.all(a, a == 0)"] {
        let of = |length: usize| {
            let (result, spent) = cost(text, &json!({"x": vec![0; length]}));
            assert_eq!(result, Ok(true), "{text}");
            spent
        };
        let (short, long) = (of(10_000), of(100_000));
        assert!(long < 10 * short + 10 && long > 9 * short, "{text}: {short}, {long}");
    }
}

/// Ten bytes cost one unit, so an expression can create at most ten megabytes.
#[test]
fn memory_is_charged_before_it_is_allocated() {
    let object = json!({"s": "a".repeat(500_000), "x": vec![0; 2_000], "t": vec!["a".repeat(100); 1_000]});
    refused("object.x.map(a, object.s + object.s) == []", &object);
    refused(&format!("object.t{} == []", ".map(b, b + b)".repeat(20)), &object);
    refused("object.x.map(a, object.x + object.x) == []", &object);
    refused("object.x.all(a, bytes(object.s + 'b') != b'')", &object);
}

#[test]
fn what_is_read_is_paid_for_before_it_is_read() {
    let text = "a".repeat(500_000);
    let object = json!({"s": text, "r": text, "x": vec![0; 2_000], "big": vec![0; 600_000], "same": vec![0; 600_000]});
    for text in [
        "object.x.all(a, object.s == object.r)",
        "object.x.all(a, object.s <= object.r)",
        "object.x.all(a, object.s.contains('b') == false)",
        "object.x.all(a, object.s.startsWith(object.r))",
        "object.x.all(a, size(object.s) > 0)",
        "object.x.all(a, {object.s: 1} != {})",
        "object.x.all(a, !(object.s in object))",
        "object.big == object.same && object.big == object.same",
        "object.x.exists(a, object.big != object.same)",
        "object.x.exists(a, 1 in object.big)",
    ] {
        refused(text, &object);
    }
}

#[test]
fn patterns_cost_their_size_for_each_byte() {
    let object = json!({"s": "ab".repeat(10_000)});
    let of = |pattern: &str| cost(&format!("object.s.matches('{pattern}')"), &object);
    let (small, large) = (of("^a"), of("^(a|b){1,40}c$"));
    assert!(small.0 == Ok(true) && large.0 == Ok(false), "{small:?} {large:?}");
    assert!(small.1 >= 20_000 && large.1 >= 4 * small.1, "{small:?} {large:?}");
    refused("object.s.matches('^(?:a|b){1,200}c$')", &object);
    refused("object.s.matches('^(.*.*){20}c$')", &object);
    for bomb in ["(((a{100}){100}){100})", "(a{1,1000}){1,1000}", "[0-9A-Za-zä-ü]{9999}", "(\\\\pL{50}){50}"] {
        let error = Expression::compile(&format!("object.s.matches('{bomb}')")).map(drop).unwrap_err();
        assert!(error.starts_with("a pattern is too large"), "{bomb}: {error}");
    }
    let many = ["component.matches('a')"; 5].join(" || ");
    assert_eq!(Expression::compile(&many).map(drop).unwrap_err(), "it has more than 4 patterns");
}

/// Otherwise `… || true` would cost nothing.
#[test]
fn an_expression_that_is_too_costly_is_decided_by_nothing_else() {
    let long = json!({"x": vec![0; 500_000], "s": "ab".repeat(250_000)});
    for text in [
        // The whole cost is charged at once, so much of the budget is left.
        "object.s.matches('^(?:a|b){1,200}c$') || true",
        "[1, 2].exists(n, n == 2 || object.s.matches('^(?:a|b){1,200}c$'))",
        "object.x.all(a, object.x.all(b, true)) || true",
        "object.x.all(a, object.x.all(b, true)) && false",
        "[1, 2].exists(n, n == 2 || object.x.all(b, b == 0))",
        "![1, 2].all(n, n != 2 && object.x.all(b, b == 0))",
    ] {
        refused(text, &long);
    }
}

#[test]
fn nesting_of_what_is_compared_is_bounded() {
    let deep = |levels| (0..levels).fold(json!(0), |inner, _| Json::Array(vec![inner]));
    let object = json!({"a": deep(100), "b": deep(100)});
    assert_eq!(cost("object.a == object.b", &object).0, Ok(true));
    // This is deeper than any stack allows. The object is not dropped, since dropping it recurses too.
    let mut object = json!({});
    object["a"] = deep(1_000_000);
    object["b"] = deep(1_000_000);
    let error = cost("object.a == object.b", &object).0.unwrap_err();
    assert!(error.starts_with("values that are nested more than"), "{error}");
    assert!(cost("object.a in object.b", &object).0.is_err());
    mem::forget(object);
}

#[test]
fn a_field_costs_the_same_in_a_large_object() {
    let small = json!({"spec": {"replicas": 2, "x": []}});
    let large = json!({"spec": {"replicas": 2, "x": vec![json!({"a": 0}); 100_000]}});
    for text in ["object.spec.replicas == 2", "object['spec']['replicas'] == 2", "has(object.spec.x)"] {
        assert_eq!(cost(text, &small), cost(text, &large), "{text}");
    }
}

#[test]
fn the_same_expression_and_object_always_cost_the_same() {
    let fields = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), json!(name.len()))).collect::<Json>();
    let (one, other) = (json!({"m": fields(&["a", "bb", "ccc"])}), json!({"m": fields(&["ccc", "bb", "a"])}));
    let text = "object.m.exists(k, object.m[k] == 2) && object.m.map(k, k + k) == ['aa', 'bbbb', 'cccccc']";
    let (result, spent) = cost(text, &one);
    assert_eq!(result, Ok(true));
    for _ in 0..10 {
        assert_eq!(cost(text, &other), (Ok(true), spent));
    }
}
