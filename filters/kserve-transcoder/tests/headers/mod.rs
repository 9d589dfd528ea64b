//! An exchange's headers, of which a test has the core see nothing else.

use filter_api::{Map, View};
use std::time::SystemTime;

pub(crate) struct Headers(pub(crate) Vec<(Map, &'static str, String)>);

impl View for Headers {
    fn header(&self, map: Map, name: &str) -> Option<Vec<u8>> {
        let found = self.0.iter().find(|(of, found, _)| *of == map && *found == name);
        found.map(|(_, _, value)| value.clone().into_bytes())
    }

    fn each_header(&self, map: Map, f: &mut dyn FnMut(&[u8], &[u8])) {
        for (_, name, value) in self.0.iter().filter(|(of, ..)| *of == map) {
            f(name.as_bytes(), value.as_bytes());
        }
    }

    fn property(&self, _path: &[&str]) -> Option<Vec<u8>> {
        None
    }

    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH
    }

    fn has_metadata(&self, _namespace: &str, _key: &str) -> bool {
        false
    }
}
