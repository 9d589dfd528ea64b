//! A test case as data, and its runner on a core.
