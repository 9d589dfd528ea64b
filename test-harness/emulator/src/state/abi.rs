//! Versions and numbers of the proxy-wasm ABI (<https://github.com/proxy-wasm/spec>, `abi-versions/v0.2.1`).

/// Which version of the ABI a module is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Abi {
    V0_1_0,
    V0_2_0,
    #[default]
    V0_2_1,
}

impl Abi {
    /// The version that the export of this name stands for.
    pub(crate) fn of_export(name: &str) -> Option<Self> {
        Some(match name {
            "proxy_abi_version_0_1_0" => Self::V0_1_0,
            "proxy_abi_version_0_2_0" => Self::V0_2_0,
            "proxy_abi_version_0_2_1" => Self::V0_2_1,
            _ => return None,
        })
    }

    /// The version as it is written.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_2_1 => "0.2.1",
        }
    }
}

/// What a host function returns (`proxy_status_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    SerializationFailure = 3,
    ParseFailure = 4,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
    BrokenConnection = 11,
    Unimplemented = 12,
}

/// The two directions of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the upstream.
    Request,
    /// From the upstream to the client.
    Response,
}

impl Direction {
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Which map a header function means (`proxy_map_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapType {
    Headers(Direction),
    Trailers(Direction),
    GrpcInitialMetadata,
    GrpcTrailingMetadata,
    CallHeaders,
    CallTrailers,
}

impl MapType {
    pub(crate) fn from_abi(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Headers(Direction::Request),
            1 => Self::Trailers(Direction::Request),
            2 => Self::Headers(Direction::Response),
            3 => Self::Trailers(Direction::Response),
            4 => Self::GrpcInitialMetadata,
            5 => Self::GrpcTrailingMetadata,
            6 => Self::CallHeaders,
            7 => Self::CallTrailers,
            _ => return None,
        })
    }
}

/// Which buffer a buffer function means (`proxy_buffer_type_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BufferType {
    Body(Direction),
    /// Bytes of a connection that a network filter sees: from the client, or from the upstream.
    Network(Direction),
    CallBody,
    GrpcMessage,
    VmConfiguration,
    PluginConfiguration,
    /// Arguments of foreign functions: always empty here.
    CallData,
}

impl BufferType {
    pub(crate) fn from_abi(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::Body(Direction::Request),
            1 => Self::Body(Direction::Response),
            4 => Self::CallBody,
            6 => Self::VmConfiguration,
            7 => Self::PluginConfiguration,
            2 => Self::Network(Direction::Request),
            3 => Self::Network(Direction::Response),
            5 => Self::GrpcMessage,
            8 => Self::CallData,
            _ => return None,
        })
    }
}

/// Severity of a log line (`proxy_log_level_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are the specification's")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

impl LogLevel {
    pub(crate) fn from_abi(number: u32) -> Option<Self> {
        [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical]
            .get(number as usize)
            .copied()
    }
}

impl From<Status> for i32 {
    fn from(status: Status) -> Self {
        status as Self
    }
}
