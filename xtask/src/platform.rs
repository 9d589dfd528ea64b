//! The platforms that Envoy is built for, by the names that images give them.

use std::fmt;

use crate::Stop;

/// Linux on one of Envoy's processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Platform {
    /// x86-64.
    Amd64,
    /// AArch64.
    Arm64,
}

/// All of them.
pub(crate) const ALL: [Platform; 2] = [Platform::Amd64, Platform::Arm64];

impl Platform {
    /// This machine's.
    pub(crate) fn here() -> Result<Self, Stop> {
        let processor = std::env::consts::ARCH;
        let here = ALL.into_iter().find(|platform| platform.processor() == processor);
        here.ok_or_else(|| {
            Stop::new(format!("there is no Envoy for {processor}, so no native module either"))
        })
    }

    /// Those of a list such as `linux/amd64,linux/arm64`, each once and in the order of [`ALL`]: the order in which they
    /// are named changes no image.
    pub(crate) fn list(names: &str) -> Result<Vec<Self>, Stop> {
        let one = |name: &str| {
            ALL.into_iter().find(|platform| platform.to_string() == name).ok_or_else(|| {
                let known = ALL.map(|platform| platform.to_string()).join(" and ");
                Stop::new(format!("unknown platform {name:?}: there are native modules for {known}"))
            })
        };
        let mut platforms = names.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        platforms.sort();
        platforms.dedup();
        Ok(platforms)
    }

    /// The name that images and Go give the processor.
    pub(crate) fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The name that Rust gives it.
    pub(crate) fn processor(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_are_each_named_once_in_a_fixed_order_and_an_unknown_one_is_refused() {
        use Platform::{Amd64, Arm64};

        for (names, platforms) in [
            ("linux/amd64,linux/arm64", &[Amd64, Arm64][..]),
            ("linux/arm64,linux/amd64,linux/arm64", &[Amd64, Arm64]),
            ("linux/arm64", &[Arm64]),
        ] {
            assert_eq!(Platform::list(names).unwrap(), platforms, "{names}");
        }
        for names in ["", "linux/riscv64", "amd64", "linux/amd64,"] {
            let stop = Platform::list(names).unwrap_err();
            assert!(stop.0.contains("linux/amd64 and linux/arm64"), "{stop}");
        }
    }
}
