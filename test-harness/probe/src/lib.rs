//! A proxy-wasm filter, steered by request headers, whose trace tells what a host does.
