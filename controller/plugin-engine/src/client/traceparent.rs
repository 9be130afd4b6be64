//! W3C trace context. Each pass over a subject is one trace, so that log messages of a plugin can be matched with those
//! of the controller, and the other way round.

tokio::task_local! {
    static TRACE: String;
}

/// Runs `future` with `trace`, 32 hex digits, as its trace.
pub(crate) async fn in_trace<T>(trace: String, future: impl Future<Output = T>) -> T {
    TRACE.scope(trace, future).await
}

/// Returns the `traceparent` header of a call. It has the current trace id and a new span id.
pub(crate) fn traceparent() -> String {
    let trace = TRACE.try_with(Clone::clone).unwrap_or_else(|_| format!("{:032x}", fastrand::u128(1..)));
    format!("00-{trace}-{:016x}-01", fastrand::u64(1..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_of_one_pass_share_a_trace() {
        let parts = |header: String| header.split('-').map(str::to_owned).collect::<Vec<_>>();
        let two = async { (parts(traceparent()), parts(traceparent())) };
        let (one, other) = TRACE.scope("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), two).await;
        assert_eq!(
            (one[0].as_str(), one[1].as_str(), one[3].as_str()),
            ("00", "4bf92f3577b34da6a3ce929d0e0e4736", "01")
        );
        assert_eq!((one[2].len(), &one[1]), (16, &other[1]));
        assert_ne!(one[2], other[2]);
        assert_eq!(parts(traceparent())[1].len(), 32, "a call outside of a look has a trace too");
    }
}
