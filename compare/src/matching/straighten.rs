//! Copies that nothing tells apart, chosen so that no packet seems overtaken without need.

use std::collections::HashMap;

use super::{Path, Segment};

/// Where the chosen copy breaks the order and one that was left over does not, it is that one. `names`
/// are those of the upstream packets, sorted; `partners` holds for each packet of either point the index
/// of its partner.
pub(super) fn straighten(
    (up, down): (&[Segment<'_>], &[Segment<'_>]),
    names: &[(u64, usize)],
    partners: (&mut [Option<usize>], &mut [Option<usize>]),
    path: &Path,
) {
    let (of_up, of_down) = partners;
    let mut free: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut name_of: HashMap<usize, u64> = HashMap::new();
    for run in names.chunk_by(|a, b| a.0 == b.0) {
        let is_free = |one: &&(u64, usize)| of_up[one.1].is_none();
        let left: Vec<usize> = run.iter().filter(is_free).map(|one| one.1).collect();
        if !left.is_empty() && left.len() < run.len() {
            free.insert(run[0].0, left);
            name_of.extend(run.iter().map(|one| (one.1, one.0)));
        }
    }
    if free.is_empty() {
        return;
    }
    let matched: Vec<usize> = (0..down.len()).filter(|b| of_down[*b].is_some()).collect();
    let mut newest: Option<usize> = None;
    for (at, &b) in matched.iter().enumerate() {
        let Some(a) = of_down[b] else { continue };
        let next = matched.get(at + 1).and_then(|next| of_down[*next]);
        // An upper bound only where what comes next is itself in order.
        let next = next.filter(|next| newest.is_none_or(|newest| newest < *next));
        let fits =
            |a: usize| newest.is_none_or(|newest| newest < a) && next.is_none_or(|next| a < next);
        let mut chosen = a;
        if !fits(a)
            && let Some(left) = name_of.get(&a).and_then(|name| free.get_mut(name))
            && let Some(other) = left.iter_mut().find(|other| {
                let is_unlike = |a: usize| path.is_unlike(up[a].record, down[b].record);
                fits(**other)
                    && path.admits(&up[**other], &down[b])
                    && is_unlike(**other) <= is_unlike(a)
            })
        {
            chosen = std::mem::replace(other, a);
            of_up[a] = None;
            of_up[chosen] = Some(b);
            of_down[b] = Some(chosen);
        }
        newest = newest.max(Some(chosen));
    }
}
