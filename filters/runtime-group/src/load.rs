//! Who of several endpoints has the least to do.

use crate::membership::{Level, Member};
use fastrand::Rng;
use filter_api::{Hosts, LbRequest};

/// How many endpoints are looked at. In a larger group they are neighbours in the list, from a place taken at random.
const MOST_LOOKED_AT: usize = 32;
/// What one request less is worth, so that weights need no fractions.
const SCALE: u64 = 1 << 20;

/// Picks from a level that has members, as Envoy's least request policy does. Equal weights: the one with the fewest
/// requests under way, one of several at random. Different weights: at random, each in proportion to its weight
/// divided by one more than its requests under way.
///
/// Endpoints that a retry should avoid are picked only if there are no others.
pub(crate) fn pick<'a>(
    members: &'a [Member],
    level: &Level,
    request: &dyn LbRequest,
    hosts: &dyn Hosts,
    rng: &mut Rng,
) -> Option<&'a Member> {
    let welcome = |member: &Member| !request.avoids(member.priority, member.all);
    pick_among(members, level, &welcome, hosts, rng)
        .or_else(|| pick_among(members, level, &|_| true, hosts, rng))
}

fn pick_among<'a>(
    members: &'a [Member],
    level: &Level,
    welcome: &dyn Fn(&Member) -> bool,
    hosts: &dyn Hosts,
    rng: &mut Rng,
) -> Option<&'a Member> {
    let count = level.members.len();
    let start = if count > MOST_LOOKED_AT { rng.usize(..count) } else { 0 };
    let looked_at = (0..count.min(MOST_LOOKED_AT)).map(|step| {
        let place = start + step;
        &members[level.members[if place < count { place } else { place - count }]]
    });
    let mut picked = None;
    let mut least = u64::MAX;
    let mut total = 0;
    for member in looked_at.filter(|member| welcome(member)) {
        let active = hosts.active_requests(member.priority, member.all);
        let chance = if !level.even {
            (u64::from(member.weight) * SCALE / active.saturating_add(1)).max(1)
        } else if active <= least {
            if active < least {
                (least, total) = (active, 0);
            }
            1
        } else {
            continue;
        };
        // Each takes the place of those before it with its share of all chances so far, so that in the end every one
        // has had its own.
        total += chance;
        if rng.u64(..total) < chance {
            picked = Some(member);
        }
    }
    picked
}
