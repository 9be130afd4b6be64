//! Tests of the compilation and the evaluation of expressions.

use serde_json::json;

use super::*;

fn object() -> Json {
    json!({
        "metadata": {"name": "demo", "labels": {"team": "a"}},
        "spec": {"replicas": 2, "share": 0.5, "ports": [{"port": 1}, {"port": 2}], "nothing": null, "word": "tür"},
    })
}

fn evaluate_in(text: &str, object: &Json, component: Option<&str>) -> Result<bool, String> {
    let expression = Expression::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let owner = json!({"kind": "DaskCluster", "spec": {"idleTimeout": 0}});
    expression.evaluate(&Variables::of_json(object, &owner, component), &mut Budget::new())
}

fn evaluate(text: &str) -> Result<bool, String> {
    evaluate_in(text, &object(), Some("scheduler"))
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
    assert_eq!(evaluate_in("component == null", &json!({}), None), Ok(true));
}

#[test]
fn the_language_is_that_of_kubernetes() {
    let table = [
        // Equal numbers are equal regardless of their types.
        ("1 == 1.0 && 1u == 1 && object.spec.share * 2.0 == 1 && 1 != 2u && 1.5 > 1 && 2u >= 2", true),
        ("1u in [1, 2] && {1: 'a'}[1u] == 'a' && {'a': 1}['a'] == 1", true),
        ("[1, 2] == [1.0, 2u] && {'a': [1]} == {'a': [1u]} && [1] != [1, 2] && 'a' != 1", true),
        ("size(object.spec.word) == 3 && size(bytes(object.spec.word)) == 4 && size({'a': 1}) == 1", true),
        ("!!true && !!!false && --2 == 2 && - - -2 == -2 && 3 - -2 == 5 && 3--2 == 5", true),
        ("-object.spec.replicas == -2 && 7 % 4 == 3 && 7 / 2 == 3 && 2u * 3u - 1u == 5u && !false", true),
        ("'a' + 'b' == 'ab' && [1] + [2] == [1, 2] && b'a' + b'b' == bytes('ab') && 'a' < 'b' && b'a' < b'b'", true),
        (
            "string(1) == '1' && string(true) == 'true' && string(b'a') == 'a' && string(1u) == '1' && string(0.5) == '0.5'",
            true,
        ),
        (
            "int('1') == 1 && int(1.9) == 1 && uint('1') == 1u && uint(1.9) == 1u && double('0.5') == 0.5 && double(1) == 1.0",
            true,
        ),
        ("max(1, 3, 2) == 3 && min([2, 1]) == 1 && [1, 2].max() == 2 && max('a', 'b') == 'b'", true),
        ("[1, 2, 2].exists_one(x, x == 1) && ![1, 2, 2].exists_one(x, x == 2)", true),
        ("[1, 2, 3].map(x, x > 1, x * 2) == [4, 6] && {'b': 1, 'a': 2}.map(key, key) == ['a', 'b']", true),
        ("[1, 2].all(a, [1, 2].exists(b, a == b)) && [[1], []].all(a, a.all(a, a == 1))", true),
        ("'abc'.contains('b') && [1].contains(1) && {'a': 1}.contains('a') && 'abc'.endsWith('c')", true),
        ("contains('abc', 'b') && startsWith('abc', 'a') && '12'.int() == 12 && matches('a', 'A|a')", true),
        // A decisive operand decides even if another one fails.
        ("1 / 0 == 1 || true", true),
        ("1 / 0 == 1 && false", false),
        ("[0, 1].exists(x, 1 / x == 1) && ![0, 2].all(x, 1 / x == 1)", true),
        ("has(object.metadata.name.more) || has(object.spec.nothing.more)", false),
    ];
    for (text, expected) in table {
        assert_eq!(evaluate(text), Ok(expected), "{text}");
    }
}

#[test]
fn an_expression_without_a_result_is_an_error_and_not_false() {
    for text in [
        "object.metadata.annotations.x == 'a'",
        "object.metadata.labels.other == 'a'",
        "object.metadata.labels['other'] == 'a'",
        "object.metadata.name.more == false",
        "object.spec.ports[7].port == 1",
        "object.spec.ports[-1].port == 1",
        "has(object.spec.ports.port)",
        "object.spec.ports['a'] == 1",
        "1 / 0 == 1",
        "1 % 0 == 1",
        "9223372036854775807 + 1 == 0",
        "-(-9223372036854775807 - 1) == 0",
        "0u - 1u == 0u",
        "1 + 1.0 == 2.0",
        "1 + 'a' == 'a'",
        "[1] + {1: 1} == [1]",
        "-true == false",
        "!1 == true",
        "'a' < 1",
        "null < null",
        "1 in 1",
        "{null: 1} == {}",
        "int('a') == 1",
        "int(1e300) == 1",
        "uint(-1) == 1u",
        "string(b'\\xff') == 'a'",
        "max([]) == 1",
        "size(1) == 1",
        "'a'.contains(1)",
        "1.startsWith('a')",
        "1.matches('a')",
        "1.all(x, true)",
        "[1, 0].exists_one(x, 1 / x == 1)",
        "[0].map(x, 1 / x) == []",
        "1 ? true : false",
        "1 || false",
    ] {
        assert!(evaluate(text).is_err(), "{text}");
    }
    assert_eq!(evaluate("object.metadata.name").unwrap_err(), "it evaluates to string, and not to a bool");
    assert_eq!(evaluate("object.spec.replicas").unwrap_err(), "it evaluates to int, and not to a bool");
    assert_eq!(evaluate("object.spec.missing == 1").unwrap_err(), "there is no field missing: test it with has()");
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
        ("Foo{a: 1} == Foo{a: 1}", "it creates a message"),
        ("size() == 1", "size does not take 0 arguments"),
        ("'a'.startsWith() || 'a'.startsWith('b', 'c')", "startsWith does not take 1 arguments"),
        ("component.matches(object.metadata.name)", "the pattern of matches must be a literal"),
        ("component.matches('(')", "a pattern is invalid: error: unclosed group"),
        ("component.matches('a{1000}{1000}')", "a pattern is too large"),
    ];
    for (text, expected) in table {
        let error = Expression::compile(text).map(drop).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains('\n'), "{error:?} is one line");
    }
}

/// A stack overflow ends the process, and nested macros can take very long.
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
            // An accepted expression must be evaluated within the stack of a worker.
            let (object, owner) = (object(), json!({}));
            drop(expression.evaluate(&Variables::of_json(&object, &owner, None), &mut Budget::new()));
            assert!(text.starts_with(['!', '-']), "{text}");
        }
    }
    let brackets = r"[(\'{".repeat(99);
    assert_eq!(evaluate(&format!("'{brackets}' != ''")), Ok(true), "texts may have brackets");
    let and = vec!["true"; 120].join(" && ");
    assert_eq!(evaluate(&and), Ok(true), "a long list of alternatives is not deep");
    assert!(Expression::compile("[1].all(a, [1].all(b, a == b))").is_ok());
    assert!(Expression::compile("[1].all(a, a == 1) && [1].all(a, a == 1) && [1].all(a, a == 1)").is_ok());
    assert!(Expression::compile(&format!("'{}'", "a".repeat(MAX_LENGTH))).is_err());
}

/// A parser that reads the operand of a doubled operator twice takes twice as long for each level. It also returned the
/// negation of the operand, so the first assertion fails before the second one takes forever.
#[test]
fn doubled_operators_cancel_out_and_take_no_longer_at_each_level() {
    for levels in [17, compile::MAX_DEPTH] {
        let nested = |operators: &str, operand| format!("{}{operand}{}", operators.repeat(levels), ")".repeat(levels));
        assert_eq!(evaluate(&nested("!!(", "true")), Ok(true), "{levels}");
        assert_eq!(evaluate(&format!("{} == 2", nested("--(", "2"))), Ok(true), "{levels}");
    }
}

/// Tests the deepest accepted expression for each way in which evaluation can recurse.
#[test]
fn the_deepest_expressions_are_evaluated_within_the_stack_of_a_worker() {
    let table = [
        ("[", "1", "]"),
        ("{1: ", "1", "}"),
        ("[0].map(a, ", "1", ")"),
        ("size(", "'a'", ")"),
        ("(1 + ", "1", ")"),
        ("(true && ", "true", ")"),
        ("(true ? ", "true", ": false)"),
        ("max(1, ", "1", ")"),
    ];
    for (before, inmost, after) in table {
        let deepest = (1..=compile::MAX_DEPTH).rev().find_map(|depth| {
            Expression::compile(&format!("{}{inmost}{}", before.repeat(depth), after.repeat(depth))).ok()
        });
        let (object, owner) = (object(), json!({}));
        let variables = Variables::of_json(&object, &owner, None);
        drop(deepest.unwrap().evaluate(&variables, &mut Budget::new()));
    }
}

#[test]
fn expressions_see_what_questions_show_and_borrow_it() {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "other/v1", "kind": "Other",
        "metadata": {
            "name": "demo", "managedFields": [{}], "labels": {"a": "b"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "c": "d"},
            "finalizers": ["plugin.kubernetes.dask.org/echo"],
        },
        "spec": {"replicas": 2}, "status": {},
    }))
    .unwrap();
    let resource = crate::model::subject::api_resource(dask_operator_api::SubjectKind::DaskCluster);
    let whole = redact::to_json(&object, &resource);
    let subject = Subject::new(&object, resource);
    let variables = Variables::of([subject.value(), Value::of(&whole)], None);
    let same = Expression::compile("object == owner && object.kind == 'DaskCluster' && has(object.status)").unwrap();
    assert_eq!(same.evaluate(&variables, &mut Budget::new()), Ok(true), "{whole}");
}
