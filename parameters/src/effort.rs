//! What it takes to check parameters against a schema, counted before it is done.
//!
//! A few lines of a schema that refer to each other twice each take longer than anybody waits, and no validator can be stopped in the midst of
//! it. So the schema is walked through first as a validator would, without judging anything, and only so far.

use std::borrow::Cow;
use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// How large a schema may be, as JSON: as large as the whole manifest that it came with.
const MAX_SCHEMA: usize = 256 << 10;

/// How deep it may be nested.
const MAX_DEPTH: usize = 64;

/// How many schemas may lie within each other when all references are followed. Each is some calls on the stack of whoever checks.
const MAX_NESTED: usize = 128;

/// How many steps there may be. One takes a microsecond or so; a schema of a thousand lines and parameters of a thousand values have some
/// thousands.
const MAX_STEPS: usize = 1 << 17;

/// How many failures there may be. Each is some hundred bytes and the way to it.
pub(crate) const MAX_FAILURES: usize = 1 << 14;

/// How many characters of a text or a name are one more step.
const CHARACTERS: usize = 64;

/// How many steps it is to make a pattern ready. It takes time and memory beyond its length, so that there may be a hundred different ones.
const PATTERN: usize = 1 << 10;

/// Where a schema says what it is called. Elsewhere than at its root it begins a schema of its own, in which references lead somewhere else.
pub(crate) const NAMES: [&str; 2] = ["$id", "id"];

/// Whether a value is small enough.
///
/// # Errors
/// What it is too much of.
pub(crate) fn limit(value: &Value, max_depth: usize, max_size: usize) -> Result<(), String> {
    // Before anything that would follow it without a limit.
    if !is_within(value, max_depth) {
        return Err(format!("nested deeper than {max_depth}"));
    }
    match serde_json::to_vec(value) {
        Ok(text) if text.len() <= max_size => Ok(()),
        _ => Err(format!("larger than {} KiB", max_size >> 10)),
    }
}

fn is_within(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(_) | Value::Object(_) if depth == 0 => false,
        Value::Array(items) => items.iter().all(|item| is_within(item, depth.saturating_sub(1))),
        Value::Object(members) => members.values().all(|member| is_within(member, depth.saturating_sub(1))),
        _ => true,
    }
}

/// Whether a validator can be made of the schema. It is one part for each way that leads to a schema, each with that way as a text.
///
/// # Errors
/// What is wrong with the schema.
pub(crate) fn of_compiling(schema: &Value) -> Result<(), String> {
    limit(schema, MAX_DEPTH, MAX_SCHEMA).map_err(|large| format!("is {large}"))?;
    let mut effort = Effort::of(schema);
    effort.ways(schema, 0)?;
    effort.compile(schema, &mut Vec::new())
}

/// How many failures the check may find, where one with a long way to it counts as several.
///
/// # Errors
/// What is wrong with the schema; with these parameters, at least.
pub(crate) fn of_checking(schema: &Value, parameters: &Value) -> Result<usize, String> {
    let mut effort = Effort::of(schema);
    effort.check(schema, parameters, 0, 0)?;
    Ok(effort.failures)
}

/// To what of a value a schema within another applies.
#[derive(Clone, Copy)]
enum Place<'s> {
    Itself,
    Member(&'s str),
    Members,
    Item(usize),
    Items,
    Names,
}

struct Effort<'s> {
    root: &'s Value,
    left: usize,
    failures: usize,
    patterns: BTreeSet<&'s str>,
}

impl<'s> Effort<'s> {
    fn of(root: &'s Value) -> Self {
        Self { root, left: MAX_STEPS, failures: 0, patterns: BTreeSet::new() }
    }

    fn spend(&mut self, steps: usize) -> Result<(), String> {
        self.left = self.left.checked_sub(steps).ok_or("takes too long to check parameters against")?;
        Ok(())
    }

    /// Goes to all values, for the length of the way to each.
    fn ways(&mut self, value: &Value, way: usize) -> Result<(), String> {
        self.spend(way / CHARACTERS)?;
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.ways(item, way.saturating_add(8))),
            Value::Object(members) => members
                .iter()
                .try_for_each(|(name, member)| self.ways(member, way.saturating_add(name.len()))),
            _ => Ok(()),
        }
    }

    /// A schema that is within itself is compiled once.
    fn compile(&mut self, schema: &'s Value, outer: &mut Vec<&'s Value>) -> Result<(), String> {
        let Value::Object(keywords) = schema else { return self.spend(1) };
        if outer.iter().any(|other| std::ptr::eq(*other, schema)) {
            return Ok(());
        }
        nested(outer.len())?;
        self.spend(1)?;
        let before = self.patterns.len();
        self.patterns.extend(patterns(keywords));
        self.spend(self.patterns.len().saturating_sub(before).saturating_mul(PATTERN))?;
        outer.push(schema);
        for (place, inner) in self.inner(schema, keywords)? {
            for _ in 0..times(place, keywords) {
                self.compile(inner, outer)?;
            }
        }
        outer.pop();
        Ok(())
    }

    fn check(&mut self, schema: &'s Value, value: &Value, way: usize, depth: usize) -> Result<(), String> {
        let failure = 1_usize.saturating_add(way / CHARACTERS);
        self.failures = self.failures.saturating_add(failure);
        self.spend(failure.saturating_add(value.as_str().map(str::len).unwrap_or_default() / CHARACTERS))?;
        let Value::Object(keywords) = schema else { return Ok(()) };
        nested(depth)?;
        self.spend(listed(keywords))?;
        for (place, inner) in self.inner(schema, keywords)? {
            for _ in 0..times(place, keywords) {
                self.check_at(place, inner, value, way, depth.saturating_add(1))?;
            }
        }
        Ok(())
    }

    fn check_at(
        &mut self,
        place: Place<'s>,
        schema: &'s Value,
        value: &Value,
        way: usize,
        depth: usize,
    ) -> Result<(), String> {
        let further = |name: &str| way.saturating_add(name.len()).saturating_add(1);
        match (place, value) {
            (Place::Itself, _) => self.check(schema, value, way, depth),
            (Place::Member(name), Value::Object(members)) => {
                self.spend(1)?;
                let member = members.get(name);
                member.map_or(Ok(()), |member| self.check(schema, member, further(name), depth))
            }
            (Place::Members, Value::Object(members)) => members.iter().try_for_each(|(name, member)| {
                // Patterns are matched with the name.
                self.spend(1_usize.saturating_add(name.len() / CHARACTERS))?;
                self.check(schema, member, further(name), depth)
            }),
            (Place::Names, Value::Object(members)) => {
                members.keys().try_for_each(|name| self.check(schema, &Value::Null, further(name), depth))
            }
            (Place::Item(index), Value::Array(items)) => {
                self.spend(1)?;
                let item = items.get(index);
                item.map_or(Ok(()), |item| self.check(schema, item, further("9999"), depth))
            }
            (Place::Items, Value::Array(items)) => {
                items.iter().try_for_each(|item| self.check(schema, item, further("99999"), depth))
            }
            _ => self.spend(1),
        }
    }

    /// The schemas within a schema, those that it refers to included.
    fn inner(
        &self,
        schema: &'s Value,
        keywords: &'s Map<String, Value>,
    ) -> Result<Vec<(Place<'s>, &'s Value)>, String> {
        if !std::ptr::eq(schema, self.root) {
            refuse_name(schema)?;
        }
        let mut inner = Vec::new();
        for (keyword, value) in keywords {
            let one = |place| vec![(place, value)];
            let many = |place: fn(usize) -> Place<'s>| -> Vec<(Place<'s>, &'s Value)> {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.map(|(index, item)| (place(index), item)).collect()
            };
            let named = |place: fn(&'s str) -> Place<'s>| -> Vec<(Place<'s>, &'s Value)> {
                let members = value.as_object().into_iter().flatten();
                members.map(|(name, member)| (place(name), member)).collect()
            };
            inner.extend(match keyword.as_str() {
                "allOf" | "anyOf" | "oneOf" => many(|_| Place::Itself),
                "not" | "if" | "then" | "else" | "contentSchema" => one(Place::Itself),
                "dependentSchemas" | "dependencies" => named(|_| Place::Itself),
                "$ref" | "$dynamicRef" | "$recursiveRef" => vec![(Place::Itself, self.target(value)?)],
                "properties" => named(Place::Member),
                "patternProperties" => named(|_| Place::Members),
                "additionalProperties" | "unevaluatedProperties" => one(Place::Members),
                "propertyNames" => one(Place::Names),
                "prefixItems" => many(Place::Item),
                "items" if value.is_array() => many(Place::Item),
                "items" | "additionalItems" | "unevaluatedItems" | "contains" => one(Place::Items),
                _ => Vec::new(),
            });
        }
        Ok(inner)
    }

    /// What a reference leads to: somewhere in the schema, by a pointer.
    fn target(&self, reference: &Value) -> Result<&'s Value, String> {
        let no_pointer =
            || "refers to something by other than a pointer into it, such as #/$defs/port".to_owned();
        let pointer = reference.as_str().and_then(|text| text.strip_prefix('#')).ok_or_else(no_pointer)?;
        let pointer: Cow<str> = percent_decode_str(pointer).decode_utf8().map_err(|_| no_pointer())?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            return Err(no_pointer());
        }
        let mut target = self.root;
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            let next = match target {
                Value::Object(members) => members.get(&segment),
                Value::Array(items) => segment.parse().ok().and_then(|index: usize| items.get(index)),
                _ => None,
            };
            target = next.ok_or_else(|| format!("refers to #{pointer}, which is nowhere in it"))?;
            refuse_name(target)?;
        }
        Ok(target)
    }
}

fn nested(depth: usize) -> Result<(), String> {
    if depth < MAX_NESTED {
        Ok(())
    } else {
        Err(format!("has more than {MAX_NESTED} schemas within each other"))
    }
}

/// For what others have not evaluated all of them are asked again, both when it is compiled and when it is used.
fn times(place: Place, keywords: &Map<String, Value>) -> usize {
    let asks_again =
        keywords.contains_key("unevaluatedProperties") || keywords.contains_key("unevaluatedItems");
    if asks_again && matches!(place, Place::Itself) { 3 } else { 1 }
}

fn patterns(keywords: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let of_names = keywords.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
    keywords.get("pattern").and_then(Value::as_str).into_iter().chain(of_names.map(|(name, _)| name.as_str()))
}

/// What a value is compared with or looked up in.
fn listed(keywords: &Map<String, Value>) -> usize {
    let lists = ["const", "enum", "required", "dependentRequired", "dependencies"];
    lists.iter().filter_map(|keyword| keywords.get(*keyword)).map(values).sum()
}

fn values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(values).sum::<usize>(),
        _ => 1,
    }
}

fn refuse_name(schema: &Value) -> Result<(), String> {
    match NAMES.iter().find(|name| schema.get(**name).is_some_and(Value::is_string)) {
        None => Ok(()),
        Some(name) => Err(format!("has {name} in a part of it, which only the whole may have")),
    }
}
