//! Tests of how scripts are split.

use serde_json::json;

use super::*;

fn split(script: &str) -> Vec<String> {
    let mut variables = Variables::of(&json!({"env": [
        {"name": "PREFIX", "value": "/p"}, {"name": "MORE", "value": "--a 1  --b"},
    ]}));
    commands(script, &mut variables, 1000).unwrap().iter().map(|words| words.join("_")).collect()
}

#[test]
fn a_script_is_split_into_commands_and_words() {
    let table = [
        ("dask scheduler --a /p", "dask_scheduler_--a_/p"),
        ("  a\tb\\\n  c # d e\nf", "a_b_c|f"),
        ("a; b && c || d | e & f", "a|b|c|d|e|f"),
        ("(a b); { c d; }", "a_b|{_c_d|}"),
        ("'a b' \"c d\" e\\ f 'g'h\"i\"", "a b_c d_e f_ghi"),
        ("'' \"\" x", "__x"),
        ("\"a\\\"b\\$c\\x\"", "a\"b$c\\x"),
        ("a > out b 2>&1 c <in d >>log 2> err e", "a_b_c_d_e"),
        ("a2>b c", "a2_c"),
        ("a#b", "a#b"),
        ("unclosed 'quote", "unclosed_quote"),
        ("", ""),
    ];
    for (script, expected) in table {
        assert_eq!(split(script).join("|"), expected, "{script}");
    }
}

#[test]
fn variables_are_replaced_where_a_shell_does() {
    let table = [
        ("x $PREFIX ${PREFIX} \"$PREFIX/q\" '$PREFIX' \\$PREFIX", "x_/p_/p_/p/q_$PREFIX_$PREFIX"),
        ("x $MORE y", "x_--a_1_--b_y"),
        ("x \"$MORE\"", "x_--a 1  --b"),
        ("P=/q; x $P", "P=/q|x_/q"),
        ("export P=/q\nx ${P}", "export_P=/q|x_/q"),
        ("x ${NONE:-/d} ${NONE-/e} ${PREFIX:-/d}", "x_/d_/e_/p"),
        ("x $NONE ${NONE} \"$@\" $(cmd (a) b) `cmd c` $((1 + 2)) y", "x_?_?_?_?_?_?_y"),
        ("P=$(cmd); x $P", "P=?|x_?"),
        ("x $ y$", "x_$_y$"),
    ];
    for (script, expected) in table {
        assert_eq!(split(script).join("|").replace(UNKNOWN, "?"), expected, "{script}");
    }
}

#[test]
fn a_script_whose_words_become_long_is_given_up() {
    let mut variables = Variables::default();
    variables.set("A", Some("x".repeat(1000)));
    assert_eq!(commands(&"$A".repeat(100_000), &mut variables, 5000), None);
    assert_eq!(commands(&"(".repeat(5000), &mut variables, 5000), Some(Vec::new()));
    assert!(commands(&"$(".repeat(5000), &mut variables, 5000).is_some());
    assert!(commands(&"${".repeat(5000), &mut variables, 5000).is_some());
}
