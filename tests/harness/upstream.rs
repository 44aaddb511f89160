//! An upstream that does as it is told, and remembers every request.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::answer::{Step, Then};
use super::wire::{End, Head, Wire};
use super::{Answer, within};

/// A request as the upstream received it.
#[derive(Clone, Debug)]
pub struct Received {
    pub head: Head,
    pub body: Vec<u8>,
    /// Counts connections from 0.
    pub connection: usize,
    /// Counts requests from 0, over all connections.
    pub number: usize,
}

impl Received {
    /// The request's target, as it was written.
    pub fn path(&self) -> &str {
        self.head.line.split(' ').nth(1).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A listening upstream. Ends with its drop, and so do its connections.
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    calls: mpsc::UnboundedReceiver<Call>,
    accepting: JoinHandle<()>,
}

type Script = Box<dyn Fn(&Received) -> Answer + Send + Sync>;

struct Shared {
    script: Option<Script>,
    received: Mutex<Vec<Received>>,
    changed: watch::Sender<()>,
    connections: AtomicUsize,
    calls: mpsc::UnboundedSender<Call>,
}

/// A request that is answered by hand.
pub struct Call {
    pub head: Head,
    pub wire: Wire,
    pub connection: usize,
}

impl Upstream {
    /// One that answers each request as `script` says.
    pub async fn scripted(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(Some(Box::new(script))).await
    }

    /// One that always gives the same answer.
    pub async fn answering(answer: Answer) -> Self {
        Self::scripted(move |_| answer.clone()).await
    }

    /// One that gives these answers in this order, the last for ever.
    pub async fn in_turn(answers: Vec<Answer>) -> Self {
        Self::scripted(move |request| answers[request.number.min(answers.len() - 1)].clone()).await
    }

    /// One whose requests are played by the test; see [`Self::call`].
    pub async fn by_hand() -> Self {
        Self::start(None).await
    }

    async fn start(script: Option<Script>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            script,
            received: Mutex::default(),
            changed: watch::Sender::new(()),
            connections: AtomicUsize::new(0),
            calls: sender,
        });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, calls, accepting }
    }

    /// `[[upstream]]` of the configuration. `more` are further lines of it.
    pub fn entry(&self, name: &str, more: &str) -> String {
        let address = self.address;
        format!("[[upstream]]\nname = \"{name}\"\nbase_url = \"http://{address}/v1\"\n{more}\n")
    }

    /// The next request of an upstream by hand: its head is read, its body is not.
    pub async fn call(&mut self) -> Call {
        within("a call", self.calls.recv()).await.expect("this upstream is played by hand")
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Received {
        let received = self.received();
        assert_eq!(received.len(), 1, "{received:?}");
        received.into_iter().next().unwrap()
    }

    /// Waits until so many requests are here.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        let mut changed = self.shared.changed.subscribe();
        within("a request at the upstream", changed.wait_for(|()| self.received().len() >= count))
            .await
            .unwrap();
        self.received()
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut serving = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let connection = shared.connections.fetch_add(1, Ordering::SeqCst);
        stream.set_nodelay(true).unwrap();
        serving.spawn(serve(stream, connection, shared.clone()));
    }
}

/// Serves one connection to its end, which may come at any time.
async fn serve(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let Some(script) = &shared.script else {
        let mut wire = Wire::new(stream);
        if let Ok(head) = wire.try_head().await {
            // Nobody waits for it once the test is over.
            let _ = shared.calls.send(Call { head, wire, connection });
        }
        return;
    };
    let mut wire = Wire::endless(stream);
    while let Ok(head) = wire.try_head().await {
        let Ok(body) = wire.body(&head).await else { return };
        let answer = {
            let mut known = shared.received.lock().unwrap();
            let received = Received { head, body, connection, number: known.len() };
            known.push(received.clone());
            script(&received)
        };
        shared.changed.send_replace(());
        if play(&mut wire, &answer.steps).await.is_err() {
            return;
        }
        match answer.then {
            Then::Keep => {}
            Then::Close => return,
            Then::Reset => return wire.reset(),
            Then::Stall => drop(wire.until_end().await),
        }
    }
}

async fn play(wire: &mut Wire, steps: &[Step]) -> io::Result<()> {
    for step in steps {
        match step {
            Step::Send(bytes) => wire.try_send(bytes).await?,
            Step::Pause(pause) => tokio::time::sleep(*pause).await,
        }
    }
    Ok(())
}

impl Call {
    /// Reads the body of the request.
    pub async fn body(&mut self) -> Vec<u8> {
        self.wire.body(&self.head).await.unwrap_or_else(|end| panic!("the request was cut: {end:?}"))
    }

    /// Plays an answer, whatever comes after it left to the caller.
    pub async fn answer(&mut self, answer: Answer) {
        play(&mut self.wire, &answer.steps).await.expect("the gateway reads");
    }

    /// Waits until the gateway ends the connection.
    pub async fn ended(&mut self) -> End {
        self.wire.until_end().await.1
    }
}
