//! Offering functions to the module, each of which counts how often it is called.

use wasmtime::{Caller, Linker, WasmRet, WasmTy};

use crate::vm::host::Host;

/// What a module may call from `_initialize`, `_start` and `main`; of anything else it traps (`WasmBase::startVm`).
/// Measured with 1.38.2 and 1.40.0.
const WHILE_STARTING: &[&str] = &[
    "proxy_log",
    "fd_write",
    "fd_fdstat_get",
    "fd_prestat_get",
    "fd_prestat_dir_name",
    "args_get",
    "args_sizes_get",
    "environ_get",
    "environ_sizes_get",
    "clock_time_get",
    "random_get",
    "emscripten_notify_memory_growth",
    "pthread_equal",
];

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
                    if host.starting && !WHILE_STARTING.contains(&name) {
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
