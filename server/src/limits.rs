//! Every bound of the server, with its reason. What an operator may set has its bounds in
//! [`crate::config`].

use std::time::Duration;

// Configuration and command line.

/// A configuration travels in every evidence document, whose claims allow this much.
pub const CONFIG_BYTES: u64 = 65_536;
/// Names in the server's certificate: more would not fit one TLS flight.
pub const CERTIFICATE_NAMES: usize = 32;
/// Name servers: the C library takes no more.
pub const NAME_SERVERS: usize = 3;
/// RFC 1035: the longest domain name.
pub const CERTIFICATE_NAME_BYTES: usize = 253;
/// The kept chain in PEM: genuine ones have under 8,000 bytes; the rest is for text around them.
pub const CHAIN_FILE_BYTES: u64 = 65_536;
/// The kept CRL: AMD's have under 2,000 bytes, and the document allows this much.
pub const CRL_FILE_BYTES: u64 = 65_536;
/// The host's table of certificates: what the parser of attestation takes.
pub const HOST_CERTIFICATES_BYTES: u64 = 262_144;

// Requests.

/// Body limit of the API contract. The largest legitimate bodies are a 64 KiB value, every byte of
/// it escaped to six: 384 KiB; and 256 KiB of code with an environment of 64 KiB, mostly unescaped.
pub const BODY_BYTES: usize = 1_048_576;
/// All bodies at a time that are on their way or being answered, without the first
/// [`SMALL_BODY_BYTES`] of each: beyond it such a body is 503.
pub const LARGE_BODIES_BYTES: usize = 64 * BODY_BYTES;
/// A body up to here is never refused for others: most secrets fit, and an idle head may have this
/// much too.
pub const SMALL_BODY_BYTES: usize = 16_384;
/// Body of a call that asks for no key, and so of anybody's: a claim has under 1 KiB, a chain of
/// certificates under 8, a CRL under 3.
pub const KEYLESS_BODY_BYTES: usize = 16_384;
/// An uploaded certificate, DER: genuine ones have under 2,000 bytes, and three of these in base64
/// fit a body.
pub const UPLOADED_CERTIFICATE_BYTES: usize = 3_900;
/// An uploaded CRL, DER: AMD's have under 2,000 bytes, and one of these in base64 fits a body.
pub const UPLOADED_CRL_BYTES: usize = 11_700;
/// A secret with tags is an object in an object; a list of permissions is a list in an object.
pub const JSON_DEPTH: usize = 4;
/// Members of one object or list of a body. A function's secrets, the largest, may be 100; each name
/// is compared with all before it, so a body full of objects of 1,000 would cost 0.2 s.
pub const JSON_MEMBERS: usize = 100;
/// How much of a caller's own word (an unknown field's name) an error message repeats.
pub const ECHO_CHARACTERS: usize = 64;
/// Length of a caller's `X-Request-ID`, per the API contract.
pub const REQUEST_ID_BYTES: usize = 128;
/// A query has at most six parameters, together of under 300 bytes, each of them escaped to three.
pub const QUERY_BYTES: usize = 1_024;
/// A request's head. Ours have under 2 KiB; proxies add their own headers. Every connection may hold
/// this much before it has shown a key.
pub const HEAD_BYTES: usize = 16_384;
/// A page of a list, per the API contract.
pub const PAGE_ITEMS: std::ops::RangeInclusive<u64> = 1..=100;
/// A page of a list where the caller names none, per the API contract.
pub const PAGE_ITEMS_DEFAULT: u64 = 20;
/// The furthest offset into a list: what a JSON number holds exactly everywhere.
pub const PAGE_OFFSET_MAX: u64 = (1 << 53) - 1;
/// Offsets up to here are skipped where the call runs; a longer way is a scan.
pub const PAGE_OFFSET_AT_ONCE: u64 = 1_000;
/// Scans at a time, for each worker: more would only take each other's time.
pub const SCANS: usize = 4;

// Time that a peer may take.

/// TLS handshake; two round trips on a bad link.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A request's head: the first one's once TLS stands, later ones' from their first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A whole body: 1 MiB at 35 KB/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The rest of a refused request's body, which is read and dropped so that the answer reaches its
/// sender.
pub const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection; each costs a peer one verification to replace.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a closing connection may take to close.
pub const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that must find room, as few as may be configured.
pub const CONNECTIONS_MIN: u64 = 16;
/// Files that the process has open beside what is counted: the store, the device, endorsements, the
/// listener, the reactors of the boot and of functions.
pub const OTHER_FILES: u64 = 64;
/// Files of the API's reactor of each processor: its event queue, twice, what wakes it, its signals;
/// and connections beyond the limit, which is rounded up for each and looked at after accepting.
pub const REACTOR_FILES: u64 = 8;
/// Files of a function's worker: its socket and its process. While it starts, also the socket's other
/// end, its standard output, both ends of its standard error, and of what tells that it has begun.
pub const WORKER_FILES: u64 = 8;
/// Files of a fetch: a connection, and the one before a redirect, which may not be closed yet.
pub const FETCH_FILES: u64 = 2;
/// Files of a lookup: a socket for each of [`NAME_SERVERS`], and a file of the system's or a
/// connection for what is too long.
pub const LOOKUP_FILES: u64 = 4;
/// TLS handshakes at a time, for each worker; more wait. Each has some 20 KiB of buffers.
pub const HANDSHAKES: usize = 512;
/// TLS handshakes at a time of one peer, over all workers; more wait. It takes four peers to fill a
/// worker, and whole networks behind one address still open a thousand connections in a second.
pub const HANDSHAKES_PER_PEER: usize = HANDSHAKES / 4;
/// How long a connection waits for its handshake to begin: as long as those before it may take.
pub const HANDSHAKE_WAIT: Duration = HANDSHAKE_TIMEOUT;
/// Requests get this long to end after SIGTERM; the listener looks once a second.
pub const DRAIN_SECONDS: u64 = 2;
/// [`DRAIN_SECONDS`], and a second for the listener to notice; with [`STORE_END_TIMEOUT`] below
/// five seconds.
pub const DRAIN_TIMEOUT: Duration = Duration::from_millis(3_200);
/// The store's own end: one commit and one sync.
pub const STORE_END_TIMEOUT: Duration = Duration::from_millis(1_500);

// The secure processor.

/// Leaves of one Merkle batch (SPEC.md, 2): also the length of the queue before it.
pub const BATCH_LEAVES: usize = 65_536;
/// How long a caller waits for evidence: a few reports of a throttled processor.
pub const EVIDENCE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long one report is tried again while the processor is busy; below [`EVIDENCE_TIMEOUT`], so
/// that the caller hears of it.
pub const REPORT_PATIENCE: Duration = Duration::from_secs(10);
/// First pause after "busy"; doubled up to [`BUSY_PAUSE_MAX`].
pub const BUSY_PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause after "busy": the processor gives a few reports a second.
pub const BUSY_PAUSE_MAX: Duration = Duration::from_millis(500);

// Rate limits.

/// Keys whose buckets are remembered. A bucket that has been idle for a second is full, so
/// forgetting it is free.
pub const RATE_BUCKETS: usize = 65_536;
/// Peers whose failed authentications are counted; beyond it they share one count.
pub const FAILURE_PEERS: usize = 16_384;

// The clock.

/// How far the machine's clock may be behind the last time without a word: one that nobody sets right
/// runs ahead by seconds a day. Time goes on from the last one all the same.
pub const CLOCK_BEHIND: Duration = Duration::from_secs(3_600);
/// How far the machine's clock may be ahead of the last time and be believed: a machine that is off for
/// longer waits for its owner.
pub const CLOCK_AHEAD: Duration = Duration::from_secs(7 * 86_400);
/// The time is sealed no more often.
pub const CLOCK_SEAL_INTERVAL: Duration = Duration::from_secs(60);

// The store.

/// A disk for a store: the first two MiB, the engine's first pages, and room to grow twice.
pub const DISK_BYTES_MIN: u64 = 16 * 1_048_576;
/// The engine's page cache: the tree's upper pages and the accounts at work. Idle memory stays
/// under 40 MiB.
pub const ENGINE_CACHE_BYTES: usize = 16 * 1_048_576;
/// A sealed record: the largest is an execution's with a result of 1 MiB, a log of 256 KiB in a
/// thousand lines, a thousand reads, and an eighth of all that as padding.
pub const RECORD_BYTES: usize = 1_572_864;
/// Versions kept of a secret: with more, its metadata would outgrow a record.
pub const VERSIONS_KEPT_MAX: usize = 100;
/// Plaintext of a record is padded to this at least: most metadata then look alike.
pub const RECORD_PADDED_BYTES_MIN: usize = 256;
/// Names that stand in one record: with it, a leaf of the engine's has room for some others.
pub const NAMES_PER_RECORD: usize = 64;
/// Names of one account that stand in records with others; those after them have one each. So many
/// take under 40 MiB of memory, and some 60 ms to read.
pub const NAMES_IN_RECORDS: u64 = 1_048_576;
/// Names that the writer reads the places of itself: in a tenth of a millisecond, or in a few where
/// all others of their records were given back.
pub const NAMES_READ_AT_ONCE: u64 = 1_024;
/// Accounts whose many names are read at a time: each takes as much memory as it keeps, and half as
/// much again.
pub const NAMES_READERS: usize = 2;
/// Names whose places are kept in memory, of all accounts together: 17 to 39 bytes each, and up to
/// twice that where many were given back.
pub const NAMES_KNOWN: usize = 4 * 1_048_576;
/// What an account counts for among these beside its names.
pub const PLACES_WEIGHT: usize = 16;
/// The slot table: 16 slots of under 500 bytes.
pub const SLOT_TABLE_BYTES: usize = 8_192;
/// Slots of a table: one per way in, and a store has few.
pub const SLOTS: usize = 16;
/// What the disk must have beyond every write that makes the store larger, for deletions,
/// revocations, the owner's acts, and the pages that a commit writes anew: some 20 MiB for a full
/// batch, twice while the last commit's are not free yet.
pub const DISK_RESERVE_BYTES: u64 = 64 * 1_048_576;
/// What must have been written and removed before the free pages of a nearly full disk's file are
/// counted again: that reads the whole file.
pub const DISK_RECHECK_BYTES: u64 = 64 * 1_048_576;
/// What a record takes beside its bytes: its share of the tree's pages.
pub const RECORD_OVERHEAD_BYTES: u64 = 512;
/// Writes that share one commit: more would only lengthen the wait for the first.
pub const WRITE_BATCH: usize = 256;
/// Writes of one account that wait for the writer: what one commit takes. The next ones wait for a
/// place among these, and are not made if their caller goes meanwhile. With 64 KiB values: 16 MiB.
pub const WRITES_WAITING: usize = WRITE_BATCH;
/// The owner's writes in one commit, which come before all others: there are few, and however many
/// there are, accounts still get most of the commit.
pub const OWNER_WRITES: usize = 64;
/// Records of deleted accounts that go with one commit: under a millisecond for those who wait for
/// it.
pub const SWEEP_RECORDS: usize = 256;
/// Deleted accounts that one pass over all tokens is for.
pub const SWEEP_ACCOUNTS: usize = 1_024;
/// Events of one record of the audit log: a batch of the largest ones about secrets fits one.
pub const AUDIT_BODY_BYTES: usize = 131_072;
/// Events that a full audit log still takes of issued and rotated keys: a key that was stolen to fill
/// it can be replaced, and whoever may issue keys can do worse than fill this.
pub const AUDIT_KEY_RESERVE: u64 = 1_000;
/// Executions of one function that are kept, per the API contract.
pub const EXECUTIONS_KEPT: usize = 100;
/// The longest that a commit waits for callers to come; as long as the last one took where that was
/// less.
pub const WRITE_GATHERING: Duration = Duration::from_millis(2);
/// How long a write that nobody waits for may wait for others to share its commit: as some commits
/// take, and less than what a person who looks for its outcome takes.
pub const WRITE_PATIENCE: Duration = Duration::from_millis(20);
/// How long a report waits at most for others to ask, where one has just been made: a processor that
/// makes one report a second has callers wait for no more than two.
pub const EVIDENCE_GATHERING: Duration = Duration::from_millis(500);
/// Tokens whose holders are kept in memory: mostly under 500 bytes each.
pub const TOKENS_CACHED: usize = 4_096;
/// Accounts whose keys are kept in memory: under 250 bytes each.
pub const ACCOUNT_KEYS_CACHED: usize = 4_096;
/// Secrets that are kept as pages have shown them: 50 pages of 20.
pub const OPENED_SECRETS: usize = 1_024;
/// Of such a secret's sealed record, at most, so that all take some 5 MiB: most are 272 bytes, and
/// one with more, by its many tags, is opened each time.
pub const OPENED_RECORD_BYTES: usize = 2_048;

// Functions. What their code may have and say is in the protocol's limits.

/// Invocations at a time, for each processor, where the configuration names no number: most of them
/// wait for other hosts.
pub const INVOCATIONS_PER_PROCESSOR: usize = 4;
/// Invocations at a time on the smallest machine: an account that is alone has half of them.
pub const INVOCATIONS_MIN: usize = 8;
/// What an invocation takes beside its engine's memory, in the worker and here: the messages between
/// them, and what [`HELD_BYTES`] and [`FETCHES`] hold.
pub const INVOCATION_OVERHEAD_MIB: u32 = 96;
/// What the look at a function's syntax takes beside that.
pub const CHECK_MEMORY_MIB: u32 = 32;
/// A step of the queue's length. The largest invocation, with its code and parameters, takes 21.
pub const WAITING_STEP_BYTES: usize = 65_536;
/// How long a caller waits for a turn before it hears that all is busy.
pub const TURN_WAIT: Duration = Duration::from_secs(10);
/// Fetches of an invocation at a time; more wait. Browsers open six connections to a host.
pub const FETCHES: usize = 8;
/// What an invocation may have lying here, each way, before no more of it is taken in: three of the
/// largest bodies.
pub const HELD_BYTES: usize = 16 * 1_048_576;
/// Different values that an invocation is given, which are kept to be masked: twice the secrets that
/// it may declare and fifty more, for those that are rotated while it runs. Each is looked for in
/// all that the invocation leaves.
pub const GIVEN_VALUES: usize = 250;
/// Bytes of these: each secret that it may declare, with the largest value.
pub const GIVEN_BYTES: usize = 100 * 65_536;
/// Work of masking what one invocation leaves: its bytes, once for each spelling of a value that
/// seems to stand in them. Code that meets the bound does so on purpose: a full log has room for
/// 2,000 of these, beside the largest result it is 400. A second, about.
pub const MASKING_BYTES: usize = 512 * 1_048_576;
/// Lines of an invocation's log: what a record holds, without the one that says that the rest is
/// left out.
pub const LOG_LINES: u32 = 999;
/// Bytes of an invocation's log: what a record holds, without that line.
pub const LOG_BYTES: u32 = 262_144 - 128;
/// What a worker has to say about a sandbox that is not on.
pub const WORKER_WORDS_BYTES: u64 = 1_024;
/// What may be resident of a worker that waits: one whose code took more is ended, since its
/// allocator keeps what was freed.
pub const IDLE_WORKER_BYTES: u64 = 16 * 1_048_576;
/// How long a worker waits for another invocation of its code.
pub const IDLE_WORKER_TIME: Duration = Duration::from_secs(300);
/// Threads that speak with workers and their hosts, at most: each does ten thousand messages a
/// second.
pub const FUNCTION_REACTORS: usize = 4;
/// How long the end waits for workers that were killed.
pub const WORKERS_END_TIMEOUT: Duration = Duration::from_millis(500);
/// Records of executions that wait for the disk while their callers have their answers; beyond it the
/// next caller waits too, and an account may take no more of it than it leaves. Some 4,000 small
/// ones, or a dozen of the largest.
pub const RECORDS_WAITING_KIB: u64 = 16 * 1_024;
/// What a record takes beside its result and its log.
pub const SMALL_RECORD_BYTES: usize = 4_096;

// What functions fetch. The messages to and from the worker have bounds of their own.

/// A fetch with all its redirects, per the API contract.
pub const EGRESS_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection to one of a host's addresses: three lost packets; the next one gets its turn.
pub const EGRESS_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Addresses of a host that are tried, in the order in which the resolver gives them.
pub const EGRESS_ADDRESSES: usize = 4;
/// Redirects that are followed, per the Fetch standard.
pub const EGRESS_REDIRECTS: usize = 20;
/// An answer's status line and headers together: four times what web servers send at most.
pub const EGRESS_HEAD_BYTES: usize = 65_536;
/// What of an answer is read before it is looked at: room for a head.
pub const EGRESS_BUFFER_BYTES: usize = 2 * EGRESS_HEAD_BYTES;
/// The piece by which large answers are counted; the first one of each is free.
pub const EGRESS_PIECE_BYTES: usize = 65_536;
/// Pieces of all answers at a time: 128 MiB. An account may take no more of them than it leaves: one
/// that is alone has a dozen of the largest. Beyond it a large answer fails, and small ones go on.
pub const EGRESS_PIECES: usize = 2_048;
/// Lookups of names at a time. Each holds a thread and a socket until the system's resolver gives up,
/// which may take half a minute and can't be ended. An account may take no more of them than it
/// leaves, so that it takes half a dozen accounts with slow names to make others wait.
pub const EGRESS_LOOKUPS: usize = 128;
/// A lookup, with the wait for its turn: the system's resolver asks a silent server twice in it.
pub const EGRESS_LOOKUP_TIMEOUT: Duration = Duration::from_secs(6);
/// Placeholders of a request: a name and a password, twice. Each is an event in the audit log.
pub const USE_ONLY_PER_REQUEST: usize = 4;
