//! Offering functions to the module, each of which counts how often it is called.

use wasmtime::{Caller, Linker, WasmRet, WasmTy};

use crate::state::version::EnvoyVersion;
use crate::vm::host::Host;

/// Functions of WASI of which a module traps when it calls them from `_initialize`, `_start` or `main`.
const NOT_WHILE_STARTING: &[&str] =
    &["fd_close", "fd_read", "fd_seek", "path_open", "proc_exit", "sched_yield"];

/// Whether a module may call a function from `_initialize`, `_start` and `main` (`WasmBase::startVm`). Measured with
/// 1.38.2 and 1.40.0; those that WASI got with 1.39 can be called.
fn may_be_called_while_starting(name: &str, version: EnvoyVersion) -> bool {
    match name {
        "proxy_log" => true,
        "poll_oneoff" => version >= EnvoyVersion::V1_39,
        _ => !name.starts_with("proxy_") && !NOT_WHILE_STARTING.contains(&name),
    }
}

/// What the module can import so far.
pub(super) struct Functions<'a>(pub(super) &'a mut Linker<Host>);

impl Functions<'_> {
    /// Offers one more.
    pub(super) fn add<A, R>(
        &mut self,
        module: &str,
        name: &'static str,
        function: impl HostFunction<A, R>,
    ) -> wasmtime::Result<&mut Self> {
        function.offer(self.0, module, name)?;
        Ok(self)
    }
}

/// A function of numbers, with or without the VM that calls it.
pub(super) trait HostFunction<A, R> {
    fn offer(self, linker: &mut Linker<Host>, module: &str, name: &'static str) -> wasmtime::Result<()>;
}

/// In place of the VM, among the parameters of a function that has no use for it.
pub(super) struct Alone;

macro_rules! host_functions {
    ($($a:ident)*) => {
        impl<F, R, $($a),*> HostFunction<(Caller<'static, Host>, $($a,)*), R> for F
        where
            F: Fn(Caller<'_, Host>, $($a),*) -> R + Send + Sync + 'static,
            R: WasmRet + 'static,
            $($a: WasmTy + 'static,)*
        {
            #[allow(non_snake_case, reason = "each parameter has its type's name")]
            fn offer(
                self,
                linker: &mut Linker<Host>,
                module: &str,
                name: &'static str,
            ) -> wasmtime::Result<()> {
                linker.func_wrap(module, name, move |mut caller: Caller<'_, Host>, $($a: $a),*| {
                    let host = caller.data_mut();
                    host.crossings.host_call(name);
                    if host.starting && !may_be_called_while_starting(name, host.version) {
                        host.called_too_early.get_or_insert(name);
                    }
                    self(caller, $($a),*)
                })?;
                Ok(())
            }
        }

        impl<F, R, $($a),*> HostFunction<(Alone, $($a,)*), R> for F
        where
            F: Fn($($a),*) -> R + Send + Sync + 'static,
            R: WasmRet + 'static,
            $($a: WasmTy + 'static,)*
        {
            #[allow(non_snake_case, reason = "each parameter has its type's name")]
            fn offer(
                self,
                linker: &mut Linker<Host>,
                module: &str,
                name: &'static str,
            ) -> wasmtime::Result<()> {
                let with_caller = move |_: Caller<'_, Host>, $($a: $a),*| self($($a),*);
                HostFunction::<(Caller<'static, Host>, $($a,)*), R>::offer(with_caller, linker, module, name)
            }
        }
    };
}

host_functions!();
host_functions!(A);
host_functions!(A B);
host_functions!(A B C);
host_functions!(A B C D);
host_functions!(A B C D E);
host_functions!(A B C D E G);
host_functions!(A B C D E G H);
host_functions!(A B C D E G H I);
host_functions!(A B C D E G H I J);
host_functions!(A B C D E G H I J K);
host_functions!(A B C D E G H I J K L);
host_functions!(A B C D E G H I J K L M);
