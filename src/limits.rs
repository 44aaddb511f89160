//! Every bound of the gateway, with its unit and its reason.
//!
//! A bound an operator may want to move is the default of a config key; the others are fixed here.

use std::time::Duration;

/// Request body that passes through hooks. Chats with images reach tens of MiB.
pub const BODY_BYTES: u64 = 50 << 20;
/// Memory for bodies. Half of it is for all request bodies together; it is four times `body_size` if that is more.
pub const BUFFERED_BYTES: u64 = 256 << 20;
/// Bodies take memory in steps of so much, so that counting costs little. A smaller body counts as what it is.
pub const BUFFERED_STEP_BYTES: u64 = 64 << 10;
/// A body from which on reading or patching it would hold up the other requests of its thread: about a millisecond.
pub const LARGE_BODY_BYTES: usize = 256 << 10;
/// Request bodies that may be on their way at once. Each holds a connection or a stream, and what has arrived of it.
pub const BODIES_IN_FLIGHT: u64 = 20_000;
/// What a client has to send of its body, or to take of its answer, each second: less than any modem.
pub const BODY_RATE: u64 = 1 << 10;
pub const ANSWER_RATE: u64 = 1 << 10;
/// The time over which these rates hold. A pause of a mobile network passes within.
pub const RATE_WINDOW: Duration = Duration::from_secs(30);
/// What is written to a client at once, so that [`WRITE_TIMEOUT`] bounds a pause and not a whole large answer.
pub const ANSWER_PART_BYTES: usize = 64 << 10;
/// The header of a request: its first line and all header lines. Browsers and SDKs stay below 8 KiB; cookies and traces fit in the rest.
pub const HEADER_BYTES: u64 = 64 << 10;
/// Fields of one request header. Browsers and SDKs send some thirty.
pub const HEADER_FIELDS_MAX: usize = 256;
/// Bytes of empty lines in front of a request. Old clients send one behind a body.
pub const BLANK_LINES_BYTES_MAX: usize = 64;
/// Extensions and trailers of one chunked body, which are read and dropped. Checksums and signatures fit.
pub const CHUNK_EXTRAS_BYTES_MAX: usize = 16 << 10;
/// Descriptors no connection of a client takes, so that upstreams, plugins, files and the control listener find some.
pub const DESCRIPTORS_KEPT_FROM_CLIENTS: u64 = 128;
/// Descriptors no connection to an upstream takes either.
pub const DESCRIPTORS_KEPT_FROM_UPSTREAMS: u64 = 64;
/// Requests that may be in flight at once before new ones get 503.
pub const REQUESTS_IN_FLIGHT: u64 = 10_000;
/// From the first byte of a request to the end of its header.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest pause between two reads of a request body.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// What is gathered toward a client before it is sent, so that head and body of a common answer leave in one send.
pub const CLIENT_WRITE_BUFFER_BYTES: usize = 16 << 10;
/// One read of a request header: all of a common one.
pub const HEADER_READ_BYTES: usize = 4 << 10;
/// How long an idle client connection is kept.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// A client that sends nothing more may wait for its answer, or have hung up, which looks the same. How long it may
/// take to say something to it until it counts as gone.
pub const HALF_CLOSE_WAIT: Duration = Duration::from_secs(5);
/// The longest a write toward a client may make no progress.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connecting to an upstream, name look-up and TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the request sent to the answer's header. Reasoning models think for minutes before they answer.
pub const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(600);
/// The longest pause between two chunks of an answer.
pub const CHUNK_TIMEOUT: Duration = Duration::from_secs(300);
/// A whole attempt at an upstream.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(3600);
/// Requests that share one HTTP/2 connection to an upstream; common servers allow 100 or more.
pub const UPSTREAM_H2_STREAMS: usize = 100;
/// Idle connections kept per upstream.
pub const UPSTREAM_IDLE_CONNECTIONS: usize = 512;
/// How long an idle upstream connection is kept. Below the 60 s after which common balancers close.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(55);
/// How often idle upstream connections are looked at for those that ended.
pub const UPSTREAM_IDLE_SWEEP: Duration = Duration::from_secs(2);
/// A reused connection that ends this soon after a request's first byte had died before: no upstream works on a
/// request and gives up within it.
pub const RESEND_WITHIN: Duration = Duration::from_millis(250);
/// The part of a passed-through body that is kept to be sent again. Uploads of files are larger, and also rare.
pub const RESEND_BYTES_MAX: usize = 64 << 10;
/// A piece of a request that an upstream has `chunk_timeout` to take: a slow one gets a large body done piece by
/// piece. About what a socket takes at once.
pub const UPSTREAM_WRITE_BYTES: usize = 64 << 10;
/// An upstream that stopped taking a request has mostly answered before; this long its answer is waited for.
pub const EARLY_ANSWER_WAIT: Duration = Duration::from_secs(1);
/// A connection to an upstream without a byte for so long is asked whether it still stands.
pub const UPSTREAM_PROBE_PERIOD: Duration = Duration::from_secs(30);
/// Questions without an answer, one probe period long in all, after which it does not.
pub const UPSTREAM_PROBES: usize = 3;
/// A body of `GET /v1/models`, which means nothing.
pub const MODELS_REQUEST_BYTES_MAX: u64 = 64 << 10;
/// How long a looked-up address is used before it is looked up again.
pub const RESOLVED_FOR: Duration = Duration::from_secs(30);
/// Addresses of one upstream that are tried in turn.
pub const ADDRESSES_TRIED: usize = 4;
/// Failures of one model in a row that open its breaker at an upstream.
pub const BREAKER_FAILURES: u32 = 10;
/// How long an upstream's breaker stays open before one request may try.
pub const BREAKER_OPEN_FOR: Duration = Duration::from_secs(10);
/// How often an open breaker lets a request through that has no other upstream to go to: four attempts a second
/// find out soon that the upstream is back, and are no load for one that is not.
pub const BREAKER_LAST_RESORT_PERIOD: Duration = Duration::from_millis(250);
/// Models of one upstream with a breaker of their own. Clients choose the names, so the rest share one.
pub const BREAKER_MODELS_MAX: usize = 1_000;
/// A breaker that is closed and saw no failure for so long makes room for another model's.
pub const BREAKER_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Attempts at upstreams for one request, over retry rule, fallbacks and `onError` verdicts.
pub const ATTEMPTS_MAX: u32 = 10;
/// First pause of a retry rule; doubles with each retry.
pub const RETRY_BACKOFF: Duration = Duration::from_millis(250);
/// The longest pause of a retry rule, and the longest `retry-after` that is waited for or passed on.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// The longest `delayMs` of an `onError` verdict.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);

/// The part of an upstream's error body that is kept for `onError` and passed on.
pub const ERROR_BODY_BYTES_MAX: usize = 256 << 10;
/// How long the rest of an error body is waited for before the request goes on without it.
pub const ERROR_BODY_WAIT: Duration = Duration::from_secs(2);
/// One upstream's model list.
pub const MODELS_BODY_BYTES_MAX: usize = 4 << 20;
/// Asking one upstream for its models.
pub const MODELS_TIMEOUT: Duration = Duration::from_secs(10);
/// One SSE event of an upstream's stream. A larger one is cut as a broken stream.
pub const SSE_EVENT_BYTES_MAX: usize = 16 << 20;
/// A body that grows without `content-length` starts with this much room.
pub const BODY_CHUNK_BYTES: usize = 64 << 10;
/// An answer sent before the request body is whole: how long the rest is read, to keep the connection or to let
/// the client see the answer before it is closed.
pub const EARLY_ANSWER_DRAIN: Duration = Duration::from_secs(2);
/// A request body that is read for the sake of its connection alone. A larger one costs more than connecting again.
pub const EARLY_ANSWER_DRAIN_BYTES: u64 = 64 << 10;

/// All hooks of one chain run together.
pub const CHAIN_BUDGET: Duration = Duration::from_secs(1);
/// One `onRequest`, `onResponse` or `onError` call.
pub const HOOK_TIMEOUT: Duration = Duration::from_millis(250);
/// Characters of an admin token. 16 hexadecimal ones are 64 bits, which no network lets anybody try.
pub const TOKEN_CHARACTERS_MIN: usize = 16;
/// Wrong tokens in `x-hookway-trace` within [`TRACE_TRIES_WINDOW`], before none is compared until the window is over.
pub const TRACE_TRIES: u32 = 10;
/// A person who mistyped waits a minute; a program that guesses gets 14,400 tries a day.
pub const TRACE_TRIES_WINDOW: Duration = Duration::from_secs(60);
/// One `onStreamEvent` call. A token waits for it, so it is shorter.
pub const STREAM_HOOK_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest `timeoutMs` a manifest may ask for; a guard that asks a model needs seconds.
pub const HOOK_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Calls one plugin process works on at once, unless it says less.
pub const HOOK_IN_FLIGHT: usize = 256;
/// Processes of one plugin.
pub const PLUGIN_INSTANCES_MAX: usize = 64;
/// A verdict with its body.
pub const VERDICT_BYTES_MAX: usize = 50 << 20;
/// Operations of one JSON Patch. An edit of every message of a long chat fits.
pub const PATCH_OPERATIONS_MAX: usize = 1_000;
/// What the copies of one JSON Patch add to a body: about the largest body once.
pub const PATCH_COPIED_BYTES_MAX: usize = 64 << 20;
/// Text that the operations of one JSON Patch may read, beside the body four times: about a second of one core. An
/// edit of every message of a long chat reads the chat a few times.
pub const PATCH_READ_BYTES: usize = 1 << 30;
/// Levels of arrays and objects in a request body: as many as serde_json reads.
pub const JSON_DEPTH_MAX: usize = 127;
/// Keys of the objects of a request body that are open at one place, so far as they have more than a few each. Their
/// hashes are kept to find a key given twice: a MiB. A bias for each token of a small vocabulary fits.
pub const JSON_KEYS_MAX: usize = 64 << 10;
/// The path to a value or key in an error.
pub const JSON_PATH_BYTES_MAX: usize = 256;
/// A model's name. It goes into logs, records and events; the longest names in use, with a registry and a revision,
/// have about a hundred bytes.
pub const MODEL_BYTES_MAX: usize = 512;
/// The metadata bag of a request, as JSON.
pub const METADATA_BYTES_MAX: usize = 64 << 10;

/// Texts of one embeddings request to the built-in upstream; OpenAI's own bound.
pub const ECHO_INPUTS_MAX: usize = 2048;
/// Numbers in one embeddings answer of the built-in upstream: about 5 MiB of text.
pub const ECHO_NUMBERS_MAX: usize = 256 << 10;
/// What an answer of the built-in upstream may have beyond the bytes of its request.
pub const ECHO_GROWTH_BYTES_MAX: usize = 8 << 20;

/// From the start of a plugin process to its READY, unless its manifest says `startTimeoutMs`.
pub const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The most `startTimeoutMs` may say. A plugin that loads a model from a slow disk takes minutes.
pub const START_TIMEOUT_MAX: Duration = Duration::from_secs(300);
/// A gateway that starts waits so long for its plugins before it serves. For one that needs longer its `onFailure`
/// decides until it is ready.
pub const FIRST_START_WAIT: Duration = Duration::from_secs(30);
/// After this, and each time it has doubled, a start that is not over is told in the log.
pub const START_TOLD_AFTER: Duration = Duration::from_secs(5);
/// How long a running plugin has for CONFIGURE.
pub const CONFIGURE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long requests of a retired generation may keep its plugins.
pub const DRAIN_MAX: Duration = Duration::from_secs(600);
/// After SHUTDOWN, before SIGTERM.
pub const SHUTDOWN_WAIT: Duration = Duration::from_secs(2);
/// After SIGTERM, before SIGKILL.
pub const TERM_WAIT: Duration = Duration::from_secs(3);
/// A plugin that closed its socket gets this long to say why on stderr and exit, before SIGKILL.
pub const EXIT_WAIT: Duration = Duration::from_millis(500);
/// After a process ended, how long its last output is waited for. A program that left the group may hold the pipes.
pub const LAST_OUTPUT_WAIT: Duration = Duration::from_millis(200);
/// The first pause before a crashed plugin is started again; doubles with each crash.
pub const RESTART_BACKOFF: Duration = Duration::from_millis(100);
/// The longest pause between two starts.
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A process that lived this long has shown it works: the pause starts over.
pub const RESTART_HEALTHY: Duration = Duration::from_secs(60);
/// Crashes within [`CRASH_WINDOW`] after which a plugin is broken.
pub const CRASHES_MAX: usize = 5;
pub const CRASH_WINDOW: Duration = Duration::from_secs(60);
/// Protocol errors within [`PROTOCOL_ERROR_WINDOW`] after which a plugin is broken.
pub const PROTOCOL_ERRORS_MAX: usize = 3;
pub const PROTOCOL_ERROR_WINDOW: Duration = Duration::from_secs(600);
/// How often a broken plugin gets one more start.
pub const BROKEN_PROBE_PERIOD: Duration = Duration::from_secs(30);
/// Plugin starts that wait for the one thread that does them. Whoever comes later waits to get in.
pub const SPAWNS_QUEUED: usize = 64;

/// Orders of a handle to its supervisor that wait. There is one kind, and the last is as good as the first.
pub const PLUGIN_COMMANDS: usize = 8;

/// From the start of a plugin's warden to the start of its program: an exec and a fork, on a machine that is busy.
pub const WARDEN_START_WAIT: Duration = Duration::from_secs(10);
/// How long a warden tries to end what a plugin started. A process that the kernel does not let go of (waiting for a
/// disk) does not end by a signal.
pub const WARDEN_END_WAIT: Duration = Duration::from_secs(2);
/// How often it looks again meanwhile, for children that started while it looked.
pub const WARDEN_LOOK_PERIOD: Duration = Duration::from_millis(20);

/// Timeouts within [`CALL_BREAKER_WINDOW`] that open a plugin's breaker.
pub const CALL_BREAKER_TIMEOUTS: u32 = 5;
/// Calls within [`CALL_BREAKER_WINDOW`] below which their share of errors says nothing yet.
pub const CALL_BREAKER_CALLS_MIN: u32 = 20;
/// Clients within [`CALL_BREAKER_WINDOW`] that got errors alone, below which errors open no breaker: bad requests of
/// few clients are not the plugin's fault.
pub const CALL_BREAKER_CLIENTS_MIN: u32 = 5;
/// The share of all calls that fail, and of all clients that get errors alone, from which on errors open a breaker,
/// in percent. One client that is served outweighs nine that are not.
pub const CALL_BREAKER_ERRORS_PERCENT: u32 = 90;
pub const CALL_BREAKER_WINDOW: Duration = Duration::from_secs(10);
/// How long a plugin's breaker stays open before one call may try; doubles while that fails.
pub const CALL_BREAKER_OPEN: Duration = Duration::from_secs(1);
pub const CALL_BREAKER_OPEN_MAX: Duration = Duration::from_secs(30);

/// Socket buffer of both ends of a link. The default stalls after 167 small frames.
pub const LINK_SOCKET_BYTES: usize = 1 << 20;
/// Frames waiting for a full socket, bodies counted where they wait with their frame. Beyond it calls are refused.
pub const LINK_QUEUE_BYTES_MAX: usize = 8 << 20;
/// One read of a link: a whole part of a body with header and some meta. Grows for a larger frame and shrinks back.
pub const LINK_READ_BYTES: usize = 72 << 10;
/// How often a link is looked at for silence. Silent that long with calls pending, it is pinged.
pub const LINK_SILENCE: Duration = Duration::from_secs(5);
/// Silent periods of [`LINK_SILENCE`] before a link without calls is pinged: 30 s.
pub const LINK_IDLE_PERIODS: u32 = 6;
/// Pings without any sign of life after which a process counts as hung.
pub const PINGS_MISSED_MAX: u32 = 2;

/// Lines of a plugin's output kept for the operator.
pub const PLUGIN_LOG_LINES: usize = 1_000;
/// All kept lines of one plugin together.
pub const PLUGIN_LOG_BYTES: usize = 256 << 10;
/// One line of output; the rest of a longer one is cut.
pub const PLUGIN_LOG_LINE_BYTES: usize = 4 << 10;
/// How often what plugins printed is written to their files: what a killed gateway loses of it.
pub const PLUGIN_LOG_KEEP_PERIOD: Duration = Duration::from_secs(5);
/// A file of them. JSON writes a byte in six at most, and a line's number, time and source take less than 100.
pub const PLUGIN_LOG_FILE_BYTES_MAX: u64 = 2 << 20;
/// Lines per second that are kept, with as many at once; more are dropped and counted.
pub const PLUGIN_LOG_LINES_PER_SECOND: u32 = 200;
/// SIGTERM to the gateway: how long requests in flight may take to finish.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// After the sockets were handed over, how long a kept connection may still bring a request before it is closed.
pub const LAST_REQUEST_WAIT: Duration = Duration::from_secs(2);
/// How long cut requests may take to tell their clients.
pub const CUT_WAIT: Duration = Duration::from_secs(1);
/// Changes that wait while one is carried out.
pub const LIFECYCLE_EVENTS: usize = 16;
/// How often the config file is looked at for a change. It is read once it was the same for such a period: an editor or
/// a copy that is writing it is not overtaken.
pub const CONFIG_WATCH_PERIOD: Duration = Duration::from_secs(1);
/// Reading the config file, which may lie on a file system of another machine. Operators wait behind it.
pub const CONFIG_READ_WAIT: Duration = Duration::from_secs(10);
/// A file that a config names: a certificate chain, a key, a token. The largest is a bundle of authorities; that of all
/// public ones has 250 KiB.
pub const NAMED_FILE_BYTES_MAX: u64 = 16 << 20;
/// A config file.
pub const CONFIG_BYTES_MAX: u64 = 4 << 20;
/// A `plugin.json`. The longest config schema and a page of description fit many times.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 10;
/// Schemas in a plugin's config schema, each counted as often as it is referred to. Large forms have a hundred fields.
pub const CONFIG_SCHEMAS_MAX: usize = 10_000;
/// Schemas within schemas: twice as deep as any form.
pub const CONFIG_SCHEMA_DEPTH_MAX: usize = 32;
/// Patterns of one config schema. Each has to be compiled.
pub const CONFIG_PATTERNS_MAX: usize = 200;
/// One compiled pattern. A page of alternatives fits.
pub const CONFIG_PATTERN_BYTES_MAX: usize = 256 << 10;
/// Defaults that one config gets.
pub const CONFIG_DEFAULTS_BYTES_MAX: usize = 1 << 20;
/// Problems of one config that are told at once.
pub const CONFIG_PROBLEMS_TOLD: usize = 100;
/// Files of one plugin folder.
pub const PACKAGE_FILES_MAX: usize = 10_000;
/// What lies right in a folder of plugins.
pub const SCAN_ENTRIES_MAX: usize = 1_000;
/// Folders within folders of one plugin: deeper than any tree of dependencies.
pub const PACKAGE_DEPTH_MAX: usize = 32;
/// One file of a plugin folder. Programs with everything linked in stay below.
pub const PACKAGE_FILE_BYTES_MAX: u64 = 128 << 20;
/// Things wrong with the files of one plugin folder that are told at once.
pub const PACKAGE_PROBLEMS_TOLD: usize = 20;
/// Plugins installed at once, from a folder of several.
pub const INSTALL_PLUGINS_MAX: usize = 100;
/// All files of one plugin folder.
pub const PACKAGE_BYTES_MAX: u64 = 256 << 20;

/// Model names with a series of their own; clients choose them, so the rest is counted as `other`.
pub const METRIC_MODELS_MAX: usize = 200;
/// A model name that may become a label.
pub const METRIC_MODEL_BYTES_MAX: usize = 128;

/// A text in a log line; the rest is cut. Longer ones are a client's or a plugin's, and not meant to be read.
pub const LOG_TEXT_BYTES_MAX: usize = 8 << 10;
/// A log line as text.
pub const LOG_LINE_BYTES_MAX: usize = 32 << 10;
/// A text of a request's record, such as its path, model or fault. Records are kept, and shown in lists.
pub const RECORD_TEXT_BYTES_MAX: usize = 1 << 10;
/// Log lines waiting to be written. Past it lines are dropped and counted: a log nobody reads must not stop requests.
pub const LOG_LINES_QUEUED: usize = 16_384;

/// The last requests that are kept for operators. One is about a kilobyte.
pub const RECENT_REQUESTS: usize = 128;
/// Events a listener may be behind before it loses the oldest: a second of a busy gateway.
pub const LIVE_EVENTS: usize = 1024;

/// A command connecting to the gateway it is for, which is mostly on the same machine.
pub const CLI_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A command's wait for an answer: a plugin may take [`START_TIMEOUT_MAX`] to start, and the change may stand behind
/// others.
pub const CLI_ANSWER_TIMEOUT: Duration = Duration::from_secs(360);
/// An answer of the admin API that a command takes.
pub const CLI_ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Between two looks for new lines of a log that is followed.
pub const CLI_FOLLOW_PERIOD: Duration = Duration::from_millis(500);
/// Calls of an MCP client that the bridge to the gateway has under way at once.
pub const MCP_CALLS: usize = 16;

/// A request body on the control listener.
pub const ADMIN_BODY_BYTES_MAX: usize = 1 << 20;
/// Connections to the control listener at once. Readers of the live stream, dashboards and commands fit many times.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;
/// After a connection to the control listener could not be accepted.
pub const ADMIN_ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The control listener's last answers at shutdown.
pub const ADMIN_GRACE: Duration = Duration::from_secs(2);

/// Waiting for another gateway that opens the same database. It checks the whole file, which these bounds keep small.
pub const STORE_OPEN_WAIT: Duration = Duration::from_secs(10);
/// How often it is asked whether it is done.
pub const STORE_OPEN_RETRY: Duration = Duration::from_millis(10);
/// Waiting for a transaction of another process: of a gateway that is being replaced, or of an operator's own.
pub const STORE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Changes and reads that wait for the thread that writes. Few actors change anything, each one thing at a time.
pub const STORE_ORDERS_QUEUED: usize = 64;
/// Writing what is queued at the end.
pub const STORE_CLOSE_WAIT: Duration = Duration::from_secs(5);
/// What the database's log is cut back to; SQLite folds it into the database at about as much.
pub const STORE_LOG_BYTES: i64 = 4 << 20;
/// A text from outside, an error of a plugin say, as it is kept. The rest is cut.
pub const STORE_TEXT_BYTES_MAX: usize = 4 << 10;
/// Rows of one answer.
pub const STORE_PAGE_ROWS_MAX: usize = 1_000;
/// Hook calls that wait to be noted. With the period, what is noted per second at most: more would cost time that
/// requests need, for rows that the next ones push out. Calls beyond are counted and not noted.
pub const EXECUTIONS_QUEUED: usize = 1_024;
/// How long noted calls wait for others that are written with them.
pub const EXECUTIONS_PERIOD: Duration = Duration::from_secs(1);
/// Calls of one plugin that are kept.
pub const EXECUTIONS_PER_PLUGIN_MAX: i64 = 1_000;
/// Calls of all plugins that are kept: some MiB.
pub const EXECUTIONS_MAX: i64 = 10_000;
/// Lines of the audit that are kept.
pub const AUDIT_ROWS_MAX: i64 = 10_000;
/// Items of a list on the control listener, if nobody says how many.
pub const ADMIN_PAGE_ROWS: usize = 50;
/// Rows of the database in one answer of the control listener.
pub const ADMIN_PAGE_ROWS_MAX: usize = 200;
/// The largest whole number that every reader of JSON keeps as it is (RFC 8259, 6).
pub const JSON_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Readers of the live stream. Each is a connection and a place among the events.
pub const EVENT_STREAMS_MAX: usize = 16;
/// A live stream without an event for so long gets a comment, before a proxy takes it for dead.
pub const EVENT_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Milliseconds in which the peer of a connection to the control listener has to take something of what is sent to it.
/// Four comments on a quiet live stream.
pub const ADMIN_WRITE_TIMEOUT_MS: u32 = 60_000;
