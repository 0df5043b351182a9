//! In which order extensions come that need each other.

use std::collections::{BTreeMap, BTreeSet};

/// Extensions that need each other in a circle: each the next one, and the last the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("they need each other in a circle: {}", .0.join(" → "))]
pub struct Cycle(pub Vec<String>);

/// Layers of which each needs none but earlier ones: what is in one may be installed at the same time, and is uninstalled in the reverse order.
/// `needs` has every extension, with what it needs; what it needs that is not among them is there already, or somebody else's to miss.
///
/// # Errors
/// [`Cycle`]: there is no such order.
pub fn layers(needs: &BTreeMap<String, BTreeSet<String>>) -> Result<Vec<BTreeSet<String>>, Cycle> {
    let mut left: BTreeMap<&String, BTreeSet<&String>> = needs
        .iter()
        .map(|(name, needed)| (name, needed.iter().filter(|other| needs.contains_key(*other)).collect()))
        .collect();
    let mut layers = Vec::new();
    while !left.is_empty() {
        let layer: BTreeSet<&String> =
            left.iter().filter(|(_, needed)| needed.is_empty()).map(|(name, _)| *name).collect();
        if layer.is_empty() {
            return Err(cycle(&left));
        }
        left.retain(|name, needed| {
            needed.retain(|other| !layer.contains(other));
            !layer.contains(name)
        });
        layers.push(layer.into_iter().cloned().collect());
    }
    Ok(layers)
}

/// Follows what each needs until one comes again. Every one of `left` needs another of them.
fn cycle(left: &BTreeMap<&String, BTreeSet<&String>>) -> Cycle {
    let mut way: Vec<&String> = Vec::new();
    let mut next = left.keys().next().copied();
    while let Some(name) = next {
        if let Some(begin) = way.iter().position(|former| *former == name) {
            return Cycle(way.split_off(begin).into_iter().cloned().collect());
        }
        way.push(name);
        next = left.get(name).and_then(|needed| needed.first().copied());
    }
    Cycle(way.into_iter().cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(all: &[(&str, &[&str])]) -> BTreeMap<String, BTreeSet<String>> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        all.iter().map(|(name, needed)| ((*name).to_owned(), owned(needed))).collect()
    }

    #[test]
    fn each_comes_as_soon_as_what_it_needs_is_there() {
        let all =
            needs(&[("d", &["b", "c"]), ("c", &["a"]), ("b", &["a", "elsewhere"]), ("a", &[]), ("e", &[])]);
        let layers = layers(&all).unwrap();
        let layers: Vec<Vec<&str>> =
            layers.iter().map(|layer| layer.iter().map(String::as_str).collect()).collect();
        assert_eq!(layers, [vec!["a", "e"], vec!["b", "c"], vec!["d"]]);
        assert_eq!(super::layers(&needs(&[])).unwrap(), Vec::<BTreeSet<String>>::new());
    }

    #[test]
    fn a_circle_is_named_without_those_that_only_lead_to_it() {
        let all = needs(&[("a", &["b"]), ("b", &["c"]), ("c", &["d"]), ("d", &["b"]), ("e", &[])]);
        assert_eq!(layers(&all).unwrap_err().to_string(), "they need each other in a circle: b → c → d");
        assert_eq!(layers(&needs(&[("a", &["a"])])).unwrap_err(), Cycle(vec!["a".to_owned()]));
    }
}
