//! The calls of an exchange that have not ended.

use filter_api::{CallId, Dir};

/// So many calls in a row may be refused: a core that made a refused call again and again would otherwise hang the
/// worker.
pub const MOST_REFUSED_CALLS: usize = 16;

/// The calls under way, by the proxy's names.
#[derive(Debug)]
pub(crate) struct Calls<C>(Vec<UnderWay<C>>);

#[derive(Debug)]
struct UnderWay<C> {
    call: C,
    id: CallId,
    dir: Dir,
}

impl<C> Default for Calls<C> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<C: Copy + Eq> Calls<C> {
    pub(crate) fn began(&mut self, call: C, id: CallId, dir: Dir) {
        self.0.push(UnderWay { call, id, dir });
    }

    /// Takes a call out that has ended: the core's name for it, and whose headers waited. `None` if it is forgotten.
    pub(crate) fn ended(&mut self, call: C) -> Option<(CallId, Dir)> {
        let index = self.0.iter().position(|known| known.call == call)?;
        let UnderWay { id, dir, .. } = self.0.remove(index);
        Some((id, dir))
    }

    /// Whether headers have a call to wait for.
    pub(crate) fn any(&self, dir: Dir) -> bool {
        self.0.iter().any(|call| call.dir == dir)
    }

    /// Headers went on: how their calls end is not of interest any more.
    pub(crate) fn forget(&mut self, dir: Dir) {
        self.0.retain(|call| call.dir != dir);
    }

    /// The exchange is over.
    pub(crate) fn forget_all(&mut self) {
        self.0 = Vec::new();
    }
}
