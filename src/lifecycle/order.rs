//! Where plugins stand so that an operator's order holds.
//!
//! A position overrides a priority and stands on the same scale, so that plugins the operator never ordered keep
//! their place among those he did. Plugins of the configuration stand where it says.

use std::cmp::Ordering;

/// A plugin's place before it is moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) name: &'a str,
    /// The configuration decides: it cannot be moved.
    pub(super) fixed: bool,
    /// What the chain is sorted by, before the name.
    pub(super) rank: i64,
}

fn in_chain_order(a: &Place<'_>, b: &Place<'_>) -> Ordering {
    (a.rank, a.name).cmp(&(b.rank, b.name))
}

/// The positions of all plugins that can be moved, once those of `first` come first, in that order, and the others
/// follow as they do now. An error says in words what is wrong with `first`.
pub(super) fn arrange<'a>(places: &[Place<'a>], first: &[String]) -> Result<Vec<(&'a str, i64)>, String> {
    let order = order(places, first)?;
    let mut positions = Vec::new();
    let mut from: Option<&Place> = None;
    let mut run: Vec<&str> = Vec::new();
    for place in order {
        if !place.fixed {
            run.push(place.name);
            continue;
        }
        positions.extend(between(&run, from, Some(place))?);
        run.clear();
        from = Some(place);
    }
    positions.extend(between(&run, from, None)?);
    Ok(positions)
}

/// Distinct positions for `run` strictly between two plugins that cannot be moved, rising.
fn between<'a>(
    run: &[&'a str],
    from: Option<&Place<'_>>,
    to: Option<&Place<'_>>,
) -> Result<Vec<(&'a str, i64)>, String> {
    let count = i64::try_from(run.len()).unwrap_or(i64::MAX);
    let position: Box<dyn Fn(i64) -> i64> = match (from, to) {
        (None, None) => Box::new(|nth| nth),
        (Some(from), None) => Box::new(|nth| from.rank + nth),
        (None, Some(to)) => Box::new(move |nth| to.rank - count - 1 + nth),
        (Some(from), Some(to)) if in_chain_order(from, to).is_gt() => {
            return Err(format!(
                "'{}' cannot come before '{}': the configuration orders them by their priority",
                from.name, to.name
            ));
        }
        (Some(from), Some(to)) => {
            let room = to.rank - from.rank;
            if count > 0 && room <= count {
                return Err(format!(
                    "'{}' cannot stand between '{}' and '{}': the configuration leaves no room between \
                     their priorities",
                    run[0], from.name, to.name
                ));
            }
            Box::new(move |nth| from.rank + room * nth / (count + 1))
        }
    };
    Ok(run.iter().zip(1..).map(|(name, nth)| (*name, position(nth))).collect())
}

fn order<'p, 'a>(places: &'p [Place<'a>], first: &[String]) -> Result<Vec<&'p Place<'a>>, String> {
    let mut order: Vec<&Place> = Vec::with_capacity(places.len());
    for name in first {
        let Some(place) = places.iter().find(|place| place.name == name) else {
            return Err(format!("there is no plugin '{name}'"));
        };
        if order.iter().any(|known| known.name == name) {
            return Err(format!("'{name}' is named twice"));
        }
        order.push(place);
    }
    let mut others: Vec<&Place> =
        places.iter().filter(|place| order.iter().all(|named| named.name != place.name)).collect();
    others.sort_by(|a, b| in_chain_order(a, b));
    order.extend(others);
    Ok(order)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(name: &str, fixed: bool, rank: i64) -> Place<'_> {
        Place { name, fixed, rank }
    }

    fn arranged(places: &[Place<'_>], first: &[&str]) -> Result<Vec<String>, String> {
        let first: Vec<String> = first.iter().map(|name| (*name).to_owned()).collect();
        let positions = arrange(places, &first)?;
        let mut moved = places.to_vec();
        for (name, position) in positions {
            moved.iter_mut().find(|place| place.name == name).unwrap().rank = position;
        }
        moved.sort_by(in_chain_order);
        Ok(moved.iter().map(|place| place.name.to_owned()).collect())
    }

    #[test]
    fn the_named_come_first_and_the_others_follow_as_they_were() {
        let places = [place("a", false, 100), place("b", false, 100), place("c", false, 50)];
        assert_eq!(arranged(&places, &["b", "a", "c"]).unwrap(), ["b", "a", "c"]);
        assert_eq!(arranged(&places, &["b"]).unwrap(), ["b", "c", "a"]);
        assert_eq!(arranged(&places, &[]).unwrap(), ["c", "a", "b"]);
    }

    #[test]
    fn what_the_configuration_orders_stays_and_the_others_stand_around_it() {
        let places = [
            place("a", false, 100),
            place("fix", true, 100),
            place("z", false, 200),
            place("end", true, 110),
        ];
        assert_eq!(arranged(&places, &["fix", "z", "a", "end"]).unwrap(), ["fix", "z", "a", "end"]);
        assert_eq!(arranged(&places, &["a", "z", "fix"]).unwrap(), ["a", "z", "fix", "end"]);
        assert_eq!(arranged(&places, &["fix", "end", "a"]).unwrap(), ["fix", "end", "a", "z"]);
    }

    #[test]
    fn an_order_that_cannot_hold_says_why() {
        let places = [place("a", false, 1), place("one", true, 100), place("two", true, 100)];
        let refused = [
            (vec!["ghost"], "there is no plugin 'ghost'"),
            (vec!["a", "a"], "'a' is named twice"),
            (
                vec!["two", "one"],
                "'two' cannot come before 'one': the configuration orders them by their priority",
            ),
            (
                vec!["one", "a", "two"],
                "'a' cannot stand between 'one' and 'two': the configuration leaves no room between their priorities",
            ),
        ];
        for (first, problem) in refused {
            assert_eq!(arranged(&places, &first).unwrap_err(), problem);
        }
    }

    proptest! {
        #[test]
        fn any_order_of_plugins_that_can_be_moved_holds(
            priorities in prop::collection::vec(-1000..1000i64, 1..40),
            seed in any::<u64>(),
        ) {
            let names: Vec<String> = (0..priorities.len()).map(|index| format!("p{index}")).collect();
            let places: Vec<Place> =
                names.iter().zip(&priorities).map(|(name, priority)| place(name, false, *priority)).collect();
            let mut first: Vec<&str> = names.iter().map(String::as_str).collect();
            first.sort_by_key(|name| crate::hash::fnv1a(name.as_bytes()) ^ seed);
            prop_assert_eq!(arranged(&places, &first).unwrap(), first);
        }
    }
}
