//! Whether an Install's parameters are what the version's JSON Schema wants, and whether a schema is one that they can be checked against.
//!
//! Pure, and asked by whoever takes a schema or hands parameters on: `kubectl annex` and the registry before a version is published, the
//! controller before it is installed, the gateway where parameters come out of Secrets. The schema is a publisher's and the parameters are a tenant's, and both are hostile: what checking them takes is counted before it is
//! done. Parameters may come from Secrets, so no message has a value of theirs, only where it is and what is wanted there.

mod effort;
mod failures;

use std::panic::catch_unwind;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value};

/// How large parameters may be, as JSON. They go to the guest with each call.
const MAX_PARAMETERS: usize = 64 << 10;

/// How deep they may be nested.
const MAX_DEPTH: usize = 32;

/// How large a regular expression may become, and what may be remembered while one is matched. A pattern of a few characters, such as `(a{99}){99}`,
/// is a large one; and what matching takes grows with its size.
const MAX_PATTERN: usize = 128 << 10;

/// Whether the parameters satisfy the schema; without one everything does, up to a size. Nothing outside the schema is read. The draft is the one
/// that `$schema` names, or else 2020-12; `format` is only a remark, as that draft has it; a pattern has no look-around and no back references.
///
/// # Errors
/// What is wrong, in at most 512 characters: with the parameters, without any of their values, or with the schema.
pub fn check(schema: Option<&Value>, parameters: &Map<String, Value>) -> Result<(), String> {
    let parameters = Value::Object(parameters.clone());
    effort::limit(&parameters, MAX_DEPTH, MAX_PARAMETERS)
        .map_err(|large| format!("parameters are {large}"))?;
    let Some(schema) = schema else { return Ok(()) };
    effort::of_compiling(schema).map_err(wrong_schema)?;
    let failures = effort::of_checking(schema, &parameters).map_err(wrong_schema)?;
    // A schema that makes the library panic must end this check and not the controller.
    let verdict = catch_unwind(|| judge(schema, &parameters, failures));
    verdict.unwrap_or_else(|_| Err(wrong_schema("cannot be used".to_owned())))
}

/// Whether parameters can be checked against the schema at all.
///
/// # Errors
/// What is wrong with it, in at most 512 characters.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    effort::of_compiling(schema).map_err(wrong_schema)?;
    // No parameters take less than none: where these take too long, all do.
    effort::of_checking(schema, &Value::Object(Map::new())).map_err(wrong_schema)?;
    let compiled = catch_unwind(|| compile(schema).map(drop).map_err(|error| failures::of_schema(&error)));
    compiled.unwrap_or_else(|_| Err(wrong_schema("cannot be used".to_owned())))
}

fn wrong_schema(reason: String) -> String {
    failures::shorten(&format!("the version's schema {reason}"))
}

fn judge(schema: &Value, parameters: &Value, failures: usize) -> Result<(), String> {
    let validator = compile(schema).map_err(|error| failures::of_schema(&error))?;
    if validator.is_valid(parameters) {
        return Ok(());
    }
    // All failures are kept before the first is told, and so are those of each alternative: too many would fill the memory.
    let told = (failures <= effort::MAX_FAILURES)
        .then(|| failures::of_parameters(validator.iter_errors(parameters)));
    Err(told.unwrap_or_else(|| failures::UNSATISFIED.to_owned()))
}

fn compile(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    let mut schema = schema.clone();
    if let Value::Object(root) = &mut schema {
        // What the whole schema is called elsewhere. Without it all references lead to where they were looked for when the effort was counted.
        effort::NAMES.iter().for_each(|name| drop(root.remove(*name)));
    }
    jsonschema::options()
        .offline()
        .should_validate_formats(false)
        .with_pattern_options(PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN))
        .build(&schema)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(members) = value else { panic!("{value} is no object") };
        members
    }

    fn say(schema: Value, parameters: Value) -> Result<(), String> {
        check(Some(&schema), &object(parameters))
    }

    fn refused(schema: Value, parameters: Value) -> String {
        say(schema, parameters).unwrap_err()
    }

    const TOO_LONG: &str = "the version's schema takes too long to check parameters against";

    #[test]
    fn what_satisfies_the_schema_is_taken_and_without_one_everything_is() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": "https://example.com/parameters",
            "type": "object",
            "$defs": {"a/b~c%d": {"type": "integer", "maximum": 10}},
            "properties": {"limit": {"$ref": "#/$defs/a~1b~0c%25d"}, "next": {"$ref": "#"}},
            "additionalProperties": false,
        });
        assert_eq!(say(schema.clone(), json!({"limit": 1, "next": {"next": {"limit": 10}}})), Ok(()));
        assert_eq!(
            refused(schema, json!({"next": {"next": {"limit": 11}}})),
            "parameters do not satisfy the version's schema: /next/next/limit is more than 10"
        );
        assert_eq!(check(None, &object(json!({"any": ["thing"]}))), Ok(()));
        assert_eq!(say(json!({}), json!({"any": ["thing"]})), Ok(()));
    }

    #[test]
    fn a_failure_says_where_it_is_and_what_is_wanted() {
        let said = |schema: Value, value: Value| {
            let message = refused(json!({"properties": {"p": schema}}), json!({"p": value}));
            message.strip_prefix("parameters do not satisfy the version's schema: ").unwrap().to_owned()
        };
        assert_eq!(said(json!({"type": "string"}), json!(1)), "/p is no string");
        assert_eq!(said(json!({"type": ["string", "null"]}), json!(1)), "/p is no null or string");
        assert_eq!(said(json!({"enum": ["red", 1, null]}), json!("blue")), "/p is none of red, 1, null");
        assert_eq!(said(json!({"const": "red"}), json!("blue")), "/p is not red");
        let many: Vec<usize> = (0..100).collect();
        assert_eq!(said(json!({"enum": many}), json!("x")), "/p is none of the values that are allowed");
        assert_eq!(said(json!({"const": [1]}), json!("x")), "/p is not the only value that is allowed");
        assert_eq!(said(json!({"pattern": "^[a-z]+$"}), json!("A")), "/p does not match ^[a-z]+$");
        let long = "a".repeat(100);
        assert_eq!(said(json!({"pattern": long}), json!("A")), "/p does not match the pattern");
        assert_eq!(said(json!({"minimum": 2}), json!(1)), "/p is less than 2");
        assert_eq!(said(json!({"exclusiveMaximum": 1.5}), json!(2)), "/p is not less than 1.5");
        assert_eq!(said(json!({"exclusiveMinimum": 1}), json!(1)), "/p is not more than 1");
        assert_eq!(said(json!({"multipleOf": 2}), json!(1)), "/p is no multiple of 2");
        assert_eq!(said(json!({"maxLength": 1}), json!("ab")), "/p is longer than 1");
        assert_eq!(said(json!({"minLength": 1}), json!("")), "/p is shorter than 1");
        assert_eq!(said(json!({"maxItems": 1}), json!([1, 2])), "/p has more than 1 items");
        assert_eq!(
            said(json!({"prefixItems": [true], "items": false}), json!([1, 2])),
            "/p/1 is not allowed"
        );
        assert_eq!(said(json!({"minItems": 1}), json!([])), "/p has fewer than 1 items");
        assert_eq!(said(json!({"maxProperties": 0}), json!({"a": 1})), "/p has more than 0 members");
        assert_eq!(said(json!({"minProperties": 1}), json!({})), "/p has fewer than 1 members");
        assert_eq!(said(json!({"uniqueItems": true}), json!([1, 1])), "/p has an item twice");
        assert_eq!(
            said(json!({"unevaluatedItems": false}), json!(["hidden"])),
            "/p has items that are not known to it"
        );
        assert_eq!(
            said(json!({"contains": {"type": "null"}}), json!([1])),
            "/p has too few or too many items of a kind"
        );
        assert_eq!(
            said(json!({"propertyNames": {"maxLength": 1}}), json!({"ab": 1})),
            "/p has a member whose name is not allowed"
        );
        assert_eq!(
            said(json!({"anyOf": [false, {"type": "null"}]}), json!(1)),
            "/p is none of the alternatives"
        );
        assert_eq!(said(json!({"oneOf": [true, true]}), json!(1)), "/p is more than one of the alternatives");
        assert_eq!(said(json!({"not": {"type": "integer"}}), json!(1)), "/p is what is excluded");
        assert_eq!(said(json!(false), json!(1)), "/p is not allowed");
        assert_eq!(said(json!({"required": ["a/b"]}), json!({})), "/p/a~1b is missing");
        let closed = json!({"properties": {"a": true}, "additionalProperties": false});
        assert_eq!(said(closed, json!({"q": 1})), "/p/q is not known to it");
        assert_eq!(
            said(json!({"additionalProperties": false}), json!({"q": 1})),
            "/p has members that are not known to it"
        );
        assert_eq!(
            said(
                json!({"properties": {"a": true}, "unevaluatedProperties": false}),
                json!({"a": 1, "q~": 1})
            ),
            "/p/q~0 is not known to it"
        );
        assert_eq!(
            refused(json!({"minProperties": 1}), json!({})),
            "parameters do not satisfy the version's schema: the whole has fewer than 1 members"
        );
    }

    #[test]
    fn only_the_first_failures_are_told_and_each_once() {
        let schema = json!({"additionalProperties": {"type": "string"}, "minProperties": 9});
        let message = refused(schema, json!({"a": 1, "b": 1, "c": 1, "d": 1, "e": 1}));
        assert!(message.ends_with("members; /a is no string; /b is no string; and 3 more"), "{message}");
        let twice = json!({"allOf": [{"required": ["a"]}, {"required": ["a"]}]});
        assert_eq!(
            refused(twice, json!({})),
            "parameters do not satisfy the version's schema: /a is missing"
        );
    }

    #[test]
    fn a_message_is_one_short_line_whatever_names_and_patterns_are() {
        let name = "\u{202e}\n\u{7}\u{1b}[31m".repeat(300);
        let pattern = "\r\n".repeat(30);
        for schema in [
            json!({"additionalProperties": false}),
            json!({"additionalProperties": {"type": "null"}}),
            json!({"required": [name.as_str(), "a".repeat(1000)]}),
            json!({"additionalProperties": {"pattern": pattern}}),
            json!({"type": name}),
            json!({"properties": {"a": {"$ref": format!("#/{name}")}}}),
        ] {
            let message = refused(schema, json!({name.clone(): "x", "b".repeat(1000): "y"}));
            assert!(message.chars().count() <= 512, "{message}");
            assert!(!message.contains(['\n', '\r', '\u{7}', '\u{1b}', '\u{202e}']), "{message}");
        }
    }

    #[test]
    fn a_schema_that_no_parameters_can_be_checked_against_is_refused_by_itself() {
        let options: Vec<usize> = (0..25_000).collect();
        let refer = json!({"$ref": "#/$defs/a"});
        let wide = json!({"$defs": {"a": {"enum": options}}, "allOf": vec![refer; 6]});
        assert_eq!(refused(wide.clone(), json!({})), TOO_LONG);
        assert_eq!(check_schema(&wide), Err(TOO_LONG.to_owned()));
        let deeper = json!({"additionalProperties": wide["allOf"][0], "$defs": wide["$defs"]});
        assert_eq!(check_schema(&deeper), Ok(()), "there are parameters that it takes");
    }

    #[test]
    fn formats_are_only_remarks() {
        let schema = |draft: &str| json!({"$schema": draft, "properties": {"p": {"format": "email"}}});
        assert_eq!(say(schema("https://json-schema.org/draft/2020-12/schema"), json!({"p": "none"})), Ok(()));
        assert_eq!(say(schema("http://json-schema.org/draft-07/schema#"), json!({"p": "none"})), Ok(()));
    }

    #[test]
    fn what_is_no_schema_is_not_taken_for_one() {
        let said = |schema: Value| refused(schema, json!({}));
        let none = |schema: Value| said(schema).starts_with("the version's schema is none: ");
        assert!(none(json!({"type": "text"})));
        assert!(none(json!({"$schema": "https://example.com/schema"})));
        assert!(none(json!([])));
        assert!(none(json!({"properties": {"p": {"pattern": "("}}})));
        assert!(none(json!({"patternProperties": {"(": true}})));
        assert!(none(json!({"required": {"a": 1}})));
    }

    #[test]
    fn nothing_outside_the_schema_is_read() {
        let by_pointer =
            "the version's schema refers to something by other than a pointer into it, such as #/$defs/port";
        for reference in
            ["https://example.com/s", "file:///etc/passwd", "other.json#/a", "#anchor", "", "#a/b", "#/%ff"]
        {
            for keyword in ["$ref", "$dynamicRef", "$recursiveRef"] {
                let schema = json!({"properties": {"p": {"anyOf": [{keyword: reference}]}}});
                assert_eq!(refused(schema, json!({"p": 1})), by_pointer, "{keyword} {reference}");
            }
        }
        // An own name makes what is within it another schema, where the same references lead elsewhere.
        let elsewhere = json!({
            "$defs": {"a": {"$id": "https://example.com/a", "$defs": {"b": true}, "$ref": "#/$defs/b"}},
            "$ref": "#/$defs/a",
        });
        let name = "the version's schema has $id in a part of it, which only the whole may have";
        assert_eq!(refused(elsewhere.clone(), json!({})), name);
        assert_eq!(
            refused(json!({"$ref": "#/$defs/a/$defs/b", "$defs": elsewhere["$defs"]}), json!({})),
            name
        );
        assert_eq!(
            refused(json!({"$ref": "#/$defs/none"}), json!({})),
            "the version's schema refers to #/$defs/none, which is nowhere in it"
        );
    }

    #[test]
    fn large_or_deep_parameters_are_refused_without_a_schema_too() {
        let nested = |depth: usize| (1..depth).fold(json!({}), |inner, _| json!({"a": inner}));
        assert_eq!(check(None, &object(nested(32))), Ok(()));
        assert_eq!(check(None, &object(nested(33))), Err("parameters are nested deeper than 32".to_owned()));
        let long = |length: usize| json!({"a": "x".repeat(length - 8)});
        assert_eq!(check(None, &object(long(64 << 10))), Ok(()));
        assert_eq!(
            check(None, &object(long((64 << 10) + 1))),
            Err("parameters are larger than 64 KiB".to_owned())
        );
    }

    #[test]
    fn large_or_deep_schemas_are_refused() {
        let deep = (0..70).fold(json!(true), |inner, _| json!({"not": inner}));
        assert_eq!(refused(deep, json!({})), "the version's schema is nested deeper than 64");
        let large = json!({"description": "x".repeat(256 << 10)});
        assert_eq!(refused(large, json!({})), "the version's schema is larger than 256 KiB");
    }

    /// `a0` refers to `a1` as `link` says, and so on; the last one is `end`.
    fn chain(length: usize, link: impl Fn(Value) -> Value, end: Value) -> Value {
        let mut defs: Map<String, Value> = (0..length)
            .map(|number| (format!("a{number}"), link(json!({"$ref": format!("#/$defs/a{}", number + 1)}))))
            .collect();
        defs.insert(format!("a{length}"), end);
        json!({"$defs": defs, "$ref": "#/$defs/a0"})
    }

    #[test]
    fn a_schema_that_would_take_for_ever_is_refused_in_no_time() {
        let end = json!({"type": "object", "required": ["none"]});
        for keyword in ["allOf", "anyOf", "oneOf"] {
            let twice = chain(40, |next| json!({keyword: [next, next]}), end.clone());
            assert_eq!(refused(twice, json!({"a": 1})), TOO_LONG, "{keyword}");
        }
        let members = chain(40, |next| json!({"properties": {"a": next, "b": next}}), end.clone());
        assert_eq!(refused(members, json!({})), TOO_LONG, "to compile");
        let deep = (0..30).fold(json!({}), |inner, _| json!({"a": inner}));
        let recursive = json!({"additionalProperties": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}, "not": {}});
        assert_eq!(refused(recursive, deep), TOO_LONG, "with deep parameters");
        let unevaluated =
            (0..20).fold(end, |inner, _| json!({"unevaluatedProperties": false, "allOf": [inner]}));
        assert_eq!(refused(unevaluated, json!({"a": 1})), TOO_LONG);
        let options: Vec<usize> = (0..20_000).collect();
        let list: Vec<usize> = (20_000..30_000).collect();
        let every = json!({"properties": {"a": {"items": {"enum": options}}}});
        assert_eq!(refused(every.clone(), json!({"a": list})), TOO_LONG, "each with each");
        let one =
            "parameters do not satisfy the version's schema: /a/0 is none of the values that are allowed";
        assert_eq!(refused(every, json!({"a": [30_000]})), one);
    }

    #[test]
    fn schemas_within_each_other_end_before_the_stack_does() {
        let end = json!({"required": ["none"]});
        let all = |next: Value| json!({"allOf": [next]});
        let missing = "parameters do not satisfy the version's schema: /none is missing";
        let within = "the version's schema has more than 128 schemas within each other";
        assert_eq!(refused(chain(62, all, end.clone()), json!({})), missing);
        assert_eq!(refused(chain(64, all, end.clone()), json!({})), within);
        assert_eq!(refused(chain(3000, |next| next, end.clone()), json!({})), within);
        assert_eq!(refused(chain(3000, |next| json!({"properties": {"a": next}}), end), json!({})), within);
        assert_eq!(refused(json!({"$ref": "#"}), json!({})), within);
        assert_eq!(refused(json!({"allOf": [{"not": {"$ref": "#"}}]}), json!({})), within);
    }

    #[test]
    fn long_names_do_not_fill_the_memory() {
        let name = "x".repeat(100_000);
        let many: Map<String, Value> =
            (0..10_000).map(|number| (format!("a{number}"), json!(true))).collect();
        assert_eq!(refused(json!({"properties": {name: {"properties": many}}}), json!({})), TOO_LONG);
        let list = vec![1; 16_000];
        let schema = json!({"additionalProperties": {"items": {"type": "null"}}});
        assert_eq!(refused(schema.clone(), json!({"x".repeat(32_000): list})), TOO_LONG);
        let unsatisfied = "parameters do not satisfy the version's schema";
        let several = json!({"anyOf": [schema, schema]});
        assert_eq!(refused(several, json!({"a": list})), unsatisfied, "so many failures are not told");
    }

    #[test]
    fn a_pattern_is_matched_in_linear_time() {
        let text = format!("{}!", "a".repeat(60_000));
        for pattern in ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "^(.*a){20}$x"] {
            let schema = json!({"properties": {"p": {"pattern": pattern}}});
            let message = refused(schema, json!({"p": text}));
            assert!(message.contains("/p does not match"), "{pattern}: {message}");
        }
        for pattern in ["^(?=a)a$", "^(a)\\1$", "((a{99}){99}){99}", "(a|b)*a(a|b){5000}"] {
            let schema = json!({"properties": {"p": {"pattern": pattern}}});
            let message = refused(schema, json!({"p": "a"}));
            assert!(message.starts_with("the version's schema is none: /properties/p/pattern"), "{message}");
        }
    }

    /// A schema that refuses everything, in some way.
    fn refusing() -> impl Strategy<Value = Value> {
        let leaf = prop::sample::select(vec![
            json!(false),
            json!({"type": "null"}),
            json!({"enum": ["a", "b"]}),
            json!({"const": "a"}),
            json!({"pattern": "^a$", "maxLength": 1, "minLength": 1, "type": "string"}),
            json!({"format": "email", "contentMediaType": "application/json", "type": "integer"}),
            json!({"additionalProperties": false, "items": false, "type": "array", "unevaluatedItems": false}),
            json!({"propertyNames": {"pattern": "^a$"}, "minProperties": 9, "uniqueItems": true}),
        ]);
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"anyOf": all})),
                prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"oneOf": all})),
                prop::collection::vec(inner.clone(), 1..3).prop_map(|all| json!({"allOf": all})),
                inner.clone().prop_map(|all| json!({"additionalProperties": all, "items": all})),
                inner.clone().prop_map(|all| json!({"not": {"not": all}})),
                inner.clone().prop_map(|all| json!({"if": all, "else": false})),
                inner.prop_map(|all| json!({"unevaluatedProperties": all, "required": ["a"]})),
            ]
        })
    }

    /// Values with texts that no schema and no message has, and names that no text has.
    fn secret() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![3 => "[G-Z]{4,12}".prop_map(Value::from), 1 => Just(json!(4711)), 1 => Just(json!(null))];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-f]{1,3}", inner, 0..4).prop_map(|all| json!(all)),
            ]
        })
    }

    fn texts(value: &Value) -> Vec<&str> {
        match value {
            Value::String(text) => vec![text],
            Value::Array(items) => items.iter().flat_map(texts).collect(),
            Value::Object(members) => members.values().flat_map(texts).collect(),
            _ => Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn no_text_of_the_parameters_is_in_a_message(schema in refusing(), value in secret()) {
            let schema = json!({"properties": {"p": schema}, "required": ["q"]});
            let parameters = json!({"p": value});
            let message = refused(schema, parameters.clone());
            prop_assert!(message.starts_with(failures::UNSATISFIED), "{}", message);
            for text in texts(&parameters) {
                prop_assert!(!message.contains(text), "{} is in {}", text, message);
            }
            prop_assert!(!message.contains("4711"), "{}", message);
        }
    }
}
