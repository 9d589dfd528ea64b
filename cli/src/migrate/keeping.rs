//! What stays as it is, because something of it is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::account::{self, Account, Action, Place};
use super::files::{Fate, File};

/// Leaves every document as it is of which something is refused, and those that do not work without it.
pub(super) fn keep(
    files: &mut [File],
    pairs: &[(Place, Place)],
    decided: usize,
    account: &mut Account,
) -> BTreeSet<Place> {
    let kept = kept(account.refused(), pairs);
    let places: BTreeSet<Place> = kept.keys().cloned().collect();
    account.take_back(&places, decided);
    for part in files.iter_mut().flat_map(|file| &mut file.parts) {
        let Some((located, why)) =
            part.located.as_ref().and_then(|l| Some((l, kept.get(&account::place(l))?)))
        else {
            continue;
        };
        part.fate = Fate::Same;
        part.after.clear();
        let what = match why {
            None => "as it stands, because some of it is refused".to_owned(),
            Some((file, line, _)) => {
                format!("as it stands, because it belongs with the document at {file}:{line}, which is kept")
            }
        };
        account.add(Action::Kept, located, "", what);
    }
    places
}

/// The documents of which something is refused, and those that stay on account of one, each with that.
pub(super) fn kept(refused: BTreeSet<Place>, pairs: &[(Place, Place)]) -> BTreeMap<Place, Option<Place>> {
    let mut beside: BTreeMap<&Place, Vec<&Place>> = BTreeMap::new();
    for (one, other) in pairs {
        beside.entry(one).or_default().push(other);
    }
    let mut kept: BTreeMap<Place, Option<Place>> =
        refused.iter().map(|place| (place.clone(), None)).collect();
    let mut left: Vec<Place> = refused.into_iter().collect();
    while let Some(place) = left.pop() {
        for other in beside.get(&place).into_iter().flatten().filter(|other| **other != &place) {
            if !kept.contains_key(*other) {
                kept.insert((*other).clone(), Some(place.clone()));
                left.push((*other).clone());
            }
        }
    }
    kept
}
