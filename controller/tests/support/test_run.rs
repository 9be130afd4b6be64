//! How a test runs: in a namespace of its own, with a time limit, beside other tests or alone. Its duration is recorded for
//! `slowest.sh`.

use std::{
    fs::OpenOptions,
    io::Write as _,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::Pin,
    sync::{Arc, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::DeleteParams};
use tokio::sync::{Mutex, RwLock, RwLockWriteGuard, oneshot};

use super::TestContext;

/// The time limit of a test: several times what the slowest one takes on two busy cores.
const LIMIT: Duration = Duration::from_mins(15);

/// Locked for reading by most tests, and for writing by a test that must run alone.
static ALONE: RwLock<()> = RwLock::const_new(());

/// The lock of the tests with many runs that are in progress, which share it.
static MANY_RUNS: Mutex<Weak<RwLockWriteGuard<'static, ()>>> = Mutex::const_new(Weak::new());

/// Runs `test` in a new namespace, and deletes the namespace afterwards. If the test fails, prints the controller's log.
pub(crate) async fn with_temp_ns<Test: Future<Output = ()>>(test: impl FnOnce(TestContext) -> Test) {
    let _shared = ALONE.read().await;
    with_unlocked_temp_ns(test).await;
}

/// Does the same as [`with_temp_ns`] for one of the runs of a test that holds the lock of [`many_runs`].
pub(crate) async fn with_unlocked_temp_ns<Test: Future<Output = ()>>(test: impl FnOnce(TestContext) -> Test) {
    let context = TestContext::new().await;
    run(&context, Box::pin(test(context.clone()))).await;
}

/// Keeps other tests from running, except those that call this function as well: a test with many runs at the same time
/// uses all of the machine, and would make others miss their deadlines.
pub(crate) async fn many_runs() -> Arc<RwLockWriteGuard<'static, ()>> {
    let mut shared = MANY_RUNS.lock().await;
    if let Some(lock) = shared.upgrade() {
        return lock;
    }
    let lock = Arc::new(ALONE.write().await);
    *shared = Arc::downgrade(&lock);
    lock
}

/// Does the same as [`with_temp_ns`] while a controller serves the namespace.
pub(crate) async fn with_controller<Test: Future<Output = ()>>(test: impl FnOnce(TestContext) -> Test) {
    with_temp_ns(async |context| {
        let _controller = context.start_controller().await;
        Box::pin(test(context)).await;
    })
    .await;
}

/// Does the same as [`with_temp_ns`] while no other test of this process runs, and waits until the namespace is gone.
pub(crate) async fn alone_with_temp_ns<Test: Future<Output = ()>>(test: impl FnOnce(TestContext) -> Test) {
    let _exclusive = ALONE.write().await;
    let context = TestContext::new().await;
    run(&context, Box::pin(test(context.clone()))).await;
    context.namespace_goes().await;
}

/// Keeps other tests from running.
pub(crate) struct Exclusive(oneshot::Sender<()>);

impl Exclusive {
    /// Lets other tests run beside this one, except those that must run alone.
    pub(crate) fn share(self) {
        // The receiver exists as long as the test.
        let _ = self.0.send(());
    }
}

/// Does the same as [`alone_with_temp_ns`] until `test` calls [`Exclusive::share`], and then the same as [`with_temp_ns`].
pub(crate) async fn alone_at_first_with_temp_ns<Test: Future<Output = ()>>(
    test: impl FnOnce(TestContext, Exclusive) -> Test,
) {
    let exclusive = ALONE.write().await;
    let context = TestContext::new().await;
    let (share, shared) = oneshot::channel();
    let downgrade = async {
        // The sender is dropped at the end of the test at the latest.
        let _ = shared.await;
        exclusive.downgrade()
    };
    let test = run(&context, Box::pin(test(context.clone(), Exclusive(share))));
    let ((), _shared) = tokio::join!(test, downgrade);
    context.namespace_goes().await;
}

/// Runs `test`, which is boxed because the futures of tests are large.
async fn run(context: &TestContext, test: Pin<Box<impl Future<Output = ()>>>) {
    let begin = SystemTime::now();
    let limited = async { tokio::time::timeout(LIMIT, test).await.expect("the test ends within its time limit") };
    let result = AssertUnwindSafe(limited).catch_unwind().await;
    record_duration(begin);
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let deleted = namespaces.delete(&context.namespace, &DeleteParams::default()).await;
    if let Err(panic) = result {
        let log = std::fs::read_to_string(context.log()).unwrap_or_default();
        eprintln!("--- the controller's log in {} ---\n{log}--- end of the log ---", context.namespace);
        resume_unwind(panic);
    }
    match deleted {
        // The test has deleted it.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        result => drop(result.unwrap()),
    }
}

/// Appends begin, end and name of the test to the file `TEST_TIMES`, if it is set. A test may be recorded more than once.
fn record_duration(begin: SystemTime) {
    let Some(path) = std::env::var_os("TEST_TIMES") else { return };
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    // libtest runs each test on a thread of this name.
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    let line = format!("{:.1}\t{:.1}\t{name}\n", seconds(begin), seconds(SystemTime::now()));
    let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}
