//! Types and traits generated from `wit/policy.wit`. Imports are synchronous to the guest and asynchronous on the host,
//! so that a guest that waits holds no thread. Leaves implementing them to `imports`.

wasmtime::component::bindgen!({
    world: "policy",
    path: "../wit",
    imports: {
        // Answered from memory: no future to allocate.
        "opsward:policy/context": trappable,
        "opsward:policy/clock.now": trappable,
        default: async | trappable,
    },
    exports: { default: async },
    // The event is handed over by reference instead of being copied first.
    ownership: Borrowing { duplicate_if_necessary: true },
});
