//! Waits with a bound, which cost nothing when there is nothing to wait for.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// What `work` comes to; `None` if that takes longer than `bound`, which is asked for, and the clock with it,
/// only when the work cannot be done at once.
///
/// The timer is Pingora's: one of tokio's would wake the runtime's driver for each request.
pub async fn in_time<T>(bound: impl FnOnce() -> Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let at_once = poll_fn(|cx| {
        Poll::Ready(match work.as_mut().poll(cx) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        })
    });
    match at_once.await {
        Some(done) => Some(done),
        None => pingora_timeout::timeout(bound(), work).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn work_that_is_done_asks_for_no_bound() {
        let done = in_time(|| unreachable!("nothing is waited for"), ready(7)).await;
        assert_eq!(done, Some(7));
    }

    #[tokio::test]
    async fn work_that_waits_is_given_up_at_its_bound() {
        assert_eq!(in_time(|| Duration::from_millis(1), pending::<()>()).await, None);
        let soon = async {
            tokio::task::yield_now().await;
            7
        };
        assert_eq!(in_time(|| Duration::from_secs(60), soon).await, Some(7));
    }
}
