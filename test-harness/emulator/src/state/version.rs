//! Releases of Envoy, and where they differ.

/// The Envoy release whose behaviour is emulated, where releases differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum EnvoyVersion {
    /// 1.38.
    V1_38,
    /// 1.39.
    V1_39,
    /// 1.40.
    #[default]
    V1_40,
}

/// One way in which the releases differ for a filter.
#[derive(Clone, Copy, Debug)]
pub struct VersionDifference {
    /// What happens.
    pub what: &'static str,
    /// The last release in which it does.
    pub until: EnvoyVersion,
    /// Why it does.
    pub reason: &'static str,
    /// Whether the emulator does the same when told to be that release.
    pub emulated: bool,
}

/// Every difference found between 1.38.2, 1.39.3 and 1.40.0 by the probe and by modules that call every function. All
/// other exchanges are the same in all three.
pub const VERSION_DIFFERENCES: &[VersionDifference] = &[
    VersionDifference {
        what: "of two plugins that differ only in allow_on_headers_stop_iteration, the later gets the setting \
               of the earlier",
        until: EnvoyVersion::V1_39,
        reason: "the key under which a worker keeps a plugin has name, root id and configuration in it, but \
                 not this setting (fixed by envoyproxy/envoy#46893)",
        emulated: true,
    },
    VersionDifference {
        what: "the process dies at once when proxy_on_response_trailers closes the response and returns 0",
        until: EnvoyVersion::V1_38,
        reason: "the stream is used after it has been reset; 1.40 dies of it when 1 is returned",
        emulated: false,
    },
    VersionDifference {
        what: "29 functions of WASI are missing, so that a module that imports one does not load; poll_oneoff \
               answers 52 (ENOSYS)",
        until: EnvoyVersion::V1_38,
        reason: "1.39 offers all of preview 1 but proc_raise, and reports every event of poll_oneoff at once",
        emulated: true,
    },
];
