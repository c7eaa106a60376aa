//! The machines of one client session (sans-IO).
//!
//! [`Session`] is what a client has wherever its next transaction runs: its statements, its settings
//! and what it has in flight. [`Backend`] is what is known of one server. `from_client` and
//! `from_server` hold what each message does to both. Invariant: no socket, no clock; bytes come in
//! as slices and go out into buffers. Obeys `protocol-flow.html`.

mod admission;
mod asking;
mod causes;
mod defaults;
mod extended;
pub mod flow;
mod from_client;
mod from_server;
pub mod inbox;
pub mod knowledge;
mod lazy;
pub mod listening;
mod making;
mod names;
mod own;
mod packed;
mod passing;
pub mod pins;
pub mod pooling;
mod preparing;
pub mod proof;
mod reading;
mod reparse;
mod resetting;
mod retry;
pub mod rules;
mod sequences;
pub mod settings;
mod shape;
pub mod statements;
mod texts;
mod trial;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use crate::sql;
use crate::wire::{Malformed, Report};
use crate::without::is_off;
use asking::Questions;
use causes::Causes;
use flow::{Flow, Kind, OutOfStep, Owner};
use knowledge::{Knowledge, Statement};
use lazy::Lazy;
use listening::Listening;
use making::Judged;
use own::Own;
use pins::Pins;
use pooling::Pooling;
use reading::Reading;
use resetting::Resetting;
use retry::Retry;
use rules::Seat;
use sequences::{Draw, Sequences};
use settings::{Change, Changes, ServerSettings, Settings};
use shape::{Described, Portal};
use statements::{ClientStatements, Name, ServerStatements, Ticket};

pub use asking::{Leftovers, Parting};
pub use causes::Cause;
pub use from_client::{ClientFate, is_inspectable};
pub use from_server::ServerFate;
pub use packed::Packed;

/// Status byte of ReadyForQuery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransactionStatus {
    /// `I`
    #[default]
    Idle,
    /// `T`
    InTransaction,
    /// `E`
    Failed,
}

impl TransactionStatus {
    /// Reads the status byte.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'I' => Some(Self::Idle),
            b'T' => Some(Self::InTransaction),
            b'E' => Some(Self::Failed),
            _ => None,
        }
    }

    /// The status byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// What belongs to a place in the FIFO.
#[derive(Debug)]
pub(crate) enum Note {
    /// Nothing.
    Plain,
    /// The client's Parse: sent to the server, or answered here.
    Parse { name: Name, statement: Arc<Statement>, ticket: Ticket, sent: bool },
    /// The client's Parse of a name that it has, made to fail by a Parse of what the server has. It
    /// succeeds if all statements were deallocated before it.
    Duplicate { name: Name, existing: Arc<Statement>, statement: Arc<Statement>, ticket: Ticket },
    /// The client's Close of a statement: answered here.
    Close { name: Name, ticket: Ticket },
    /// pgweir's own Parse of a statement that this server lacks.
    Prepare { statement: Arc<Statement> },
    /// pgweir's own Parse of the client's unnamed statement.
    PrepareUnnamed { statement: Arc<Statement> },
    /// pgweir's own Close, to make room or to replace a stale copy.
    Unprepare { statement: Arc<Statement> },
    /// pgweir's own Parse of a statement of its own.
    PrepareOwn(Own),
    /// Execute of a question about one setting.
    Asked,
    /// Execute of the probe.
    Probed,
    /// Execute of the reading of the catalogue.
    Catalogued,
    /// Execute of the question for channels.
    Channels,
    /// pgweir's own LISTEN.
    Listened,
    /// pgweir's own UNLISTEN.
    Unlistened,
    /// pgweir's own NOTIFY, from which on the client listens by itself.
    Returned,
    /// The Sync behind all questions.
    Answered,
    /// Execute of values that what the client has reset means.
    Restored(Vec<Change>),
    /// Execute of a reset of all settings, in this segment of the client's.
    ResetsAll(u64),
    /// pgweir's own message behind the Execute of the client's RESET.
    Written,
    /// A Query, which drops the client's unnamed statement if there is one, and may draw numbers.
    Query { unnamed: Option<Ticket>, draw: Option<Draw> },
    /// Execute of what may draw numbers.
    Draws(Draw),
    /// pgweir's own messages around a Parse under settings that were.
    ReadAs,
    /// pgweir's own messages about what discards numbers that others have drawn.
    Forgot,
    /// Bind or Describe of a statement, by the client's name.
    Use { name: Name, statement: Arc<Statement> },
    /// Describe of a portal that runs a statement of the client's.
    Described { name: Name, statement: Arc<Statement> },
    /// pgweir's own Describe of a statement, by the client's name.
    Columns { name: Name, statement: Arc<Statement> },
    /// A message made to fail as PostgreSQL would: `internal` becomes the client's `name` in its text.
    Alias { internal: Box<[u8]>, name: Name },
    /// A message made to fail with a report of pgweir's own.
    Refuse(Box<Report>),
    /// Execute of one change of settings.
    Set,
    /// The Sync behind all changes of settings.
    Synced,
    /// pgweir's own Parse of a statement under the client's name, which is lent by it if there is one here; `apart`
    /// is whether the segment is pgweir's own too.
    Lent { name: Name, apart: bool },
    /// pgweir's own Close of it, ahead of the client's.
    TakenBack { name: Name },
    /// pgweir's own Parse and Close of nothing, so that the Sync behind them commits.
    Begin,
    /// pgweir's own BEGIN, which the client has had the answer to.
    LazyBegin,
    /// A reply of pgweir's own, ready to send.
    Answer(Bytes),
}

impl Note {
    /// Bytes that a client's message keeps in memory while it is in flight.
    fn size(&self) -> usize {
        match self {
            Self::Parse { name, statement, .. } | Self::Duplicate { name, statement, .. } => {
                name.len() + statement.body.len()
            }
            Self::Close { name, .. } | Self::Alias { name, .. } | Self::Use { name, .. } => {
                name.len()
            }
            _ => 0,
        }
    }
}

/// What the settings of a lease are waiting for.
#[derive(Debug)]
struct Syncing {
    changes: Vec<Change>,
    /// So many of them the server is known to have made.
    done: usize,
    /// What the server has in the end, if all is shown as it was asked for.
    whole: Option<Settings>,
    error: Option<Bytes>,
    /// The client's messages wait for it.
    waits: bool,
}

/// Messages that set a part of what a client wants, for the next server that lacks that part.
#[derive(Debug)]
struct Written {
    wanted: Settings,
    /// See [`Changes::part`].
    part: u64,
    bytes: Box<[u8]>,
}

/// Whose fault it is that a server refuses a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Nobody has accepted the value before.
    Client,
    /// Other servers have.
    Server,
}

/// Where the session stands with the server's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attach {
    /// The client's messages may follow at once.
    Ready,
    /// They must wait for [`Session::sync_result`].
    Wait,
}

/// What goes wrong between the two sides.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The server answers what was not asked.
    #[error(transparent)]
    OutOfStep(#[from] OutOfStep),
    /// A message of the server that cannot be read.
    #[error("malformed message from the server: {0}")]
    Malformed(#[from] Malformed),
    /// A setting that this server had to take was refused after the client's work was sent behind it.
    #[error("the server refused a setting that it had accepted before")]
    SettingLost,
    /// Numbers that it drew for others stay, and the client asks for its own.
    #[error("the server refused to discard the numbers of its sequences")]
    NumbersKept,
    /// It reports settings without end.
    #[error(transparent)]
    TooMany(#[from] settings::TooMany),
    /// It did not begin the transaction that the client is in.
    #[error("the server did not begin a transaction")]
    NotBegun,
}

/// What is known of one server.
#[derive(Debug)]
pub struct Backend {
    /// Settings.
    pub settings: ServerSettings,
    /// Prepared statements.
    pub statements: ServerStatements,
    /// Its process, as its notifications name it.
    pub pid: u32,
    /// Settings that `init_query` has given another default than RESET gives.
    pub initial: sql::Touched,
    /// Texts that ran here lately.
    pub shapes: sql::Shapes,
}

impl Backend {
    /// After login, with what ParameterStatus and BackendKeyData said.
    pub fn at_login(parameters: Settings, statement_limit: usize, pid: u32) -> Self {
        Self {
            settings: ServerSettings::at_login(parameters),
            statements: ServerStatements::new(statement_limit),
            pid,
            initial: sql::Touched::default(),
            shapes: sql::Shapes::default(),
        }
    }

    /// Everything but prepared statements was reset (docs/semantics.md "Cleaning").
    pub fn on_cleaned(&mut self) {
        self.settings.on_reset_all();
        self.statements.clear_unnamed();
    }

    /// DISCARD ALL was run, and no client has anything in flight.
    pub fn on_discarded(&mut self) {
        self.settings.on_reset_all();
        self.statements.reset();
    }
}

/// What a client has, wherever its next transaction runs.
#[derive(Debug)]
pub struct Session {
    flow: Flow<Note>,
    knowledge: Arc<Knowledge>,
    statements: ClientStatements,
    /// The process that the client takes its server for.
    pid: u32,
    /// What RESET gives back: the settings of the StartupMessage.
    startup: Settings,
    desired: Settings,
    /// What the client was told by ParameterStatus.
    told: Settings,
    /// A change of reported settings the client may not know of.
    tell: bool,
    resetting: Resetting,
    /// The Query in flight, where it is not the client's own.
    made: Option<sql::Made>,
    /// Why the last server refused the client's settings.
    fault: Fault,
    /// Names that the client's text deallocates, one for each DEALLOCATE tag.
    deallocating: VecDeque<(u64, Option<Name>)>,
    /// The portal bound last, if its description is to be noted.
    portal: Option<Portal>,
    described: Option<Described>,
    questions: Questions,
    /// For as long as the client has a server.
    judged: Option<Judged>,
    /// The segment in flight, if it may have to be sent again.
    retry: Option<Box<Retry>>,
    listening: Listening,
    lazy: Lazy,
    pooling: Pooling,
    pins: Pins,
    /// What the open transaction has changed of tables and types.
    altered: Altered,
    /// Its place among the pinned, taken when a text shows that it will be.
    seat: Option<Seat>,
    causes: Causes,
    /// What code that no text shows may have left, though the server has told all it could.
    owed: Leftovers,
    status: TransactionStatus,
    ticket: Ticket,
    /// Extended-protocol messages were sent since the last Sync or Query.
    open_segment: bool,
    sequences: Sequences,
    unsynced: Unsynced,
    syncing: Option<Syncing>,
    /// What the client wanted when all of it was proven, and by which knowledge.
    proven: Option<(Settings, u32)>,
    /// The messages that went ahead in the last lease that began with any.
    written: Option<Written>,
    reading: Reading,
    load: Load,
    counts: Counts,
}

/// What a transaction has changed of tables and types, as far as others are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Altered {
    Nothing,
    /// Code put texts together and ran them.
    Doubtful,
    Tables,
}

/// What the next Sync has to commit besides its own segment.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Unsynced {
    #[default]
    Nothing,
    /// A Query or FunctionCall followed extended-protocol messages without a Sync between.
    Command,
    /// The same, and it may have begun a COPY.
    Copy,
}

/// What is in flight takes room.
#[derive(Debug, Default)]
struct Load {
    /// Bytes of names and texts.
    bytes: usize,
    /// A Flush was sent because no more can be, so that replies come.
    flushed: bool,
}

/// What was done since [`Session::take_counts`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Queries, Executes and FunctionCalls sent.
    pub queries: u32,
    /// Parses answered without the server.
    pub elided_parses: u32,
    /// Transactions ended.
    pub transactions: u32,
    /// Requests for numbers of sequences that transaction pooling would have refused.
    pub lost_numbers: u32,
}

/// The buffers that a message may be written to.
#[derive(Debug)]
pub struct Out<'a> {
    /// Towards the client.
    pub client: &'a mut BytesMut,
    /// Towards the server.
    pub server: &'a mut BytesMut,
}

impl Session {
    /// A session after login. `startup` is what the client asked for in its StartupMessage.
    pub fn new(knowledge: Arc<Knowledge>, startup: Settings) -> Self {
        Self {
            flow: Flow::default(),
            knowledge,
            statements: ClientStatements::default(),
            pid: 0,
            desired: if is_off("startup") { Settings::default() } else { startup.clone() },
            startup,
            told: Settings::default(),
            tell: false,
            resetting: Resetting::default(),
            made: None,
            fault: Fault::Client,
            deallocating: VecDeque::new(),
            portal: None,
            described: None,
            questions: Questions::default(),
            judged: None,
            retry: None,
            listening: Listening::default(),
            lazy: Lazy::default(),
            pooling: Pooling::default(),
            pins: Pins::NONE,
            altered: Altered::Nothing,
            seat: None,
            causes: Causes::default(),
            owed: Leftovers::Nothing,
            status: TransactionStatus::Idle,
            ticket: Ticket::default(),
            open_segment: false,
            sequences: Sequences::default(),
            unsynced: Unsynced::Nothing,
            syncing: None,
            proven: None,
            written: None,
            reading: Reading::default(),
            load: Load::default(),
            counts: Counts::default(),
        }
    }

    /// The client was told this process id.
    pub fn set_pid(&mut self, pid: u32) {
        self.pid = pid;
    }

    /// Status of the last ReadyForQuery.
    pub fn status(&self) -> TransactionStatus {
        self.status
    }

    /// Nothing is in flight and no segment is open.
    pub fn is_quiet(&self) -> bool {
        self.flow.is_empty() && !self.open_segment
    }

    /// Nothing keeps the server but what [`Session::part`] asks about.
    pub fn may_release(&self) -> bool {
        self.status == TransactionStatus::Idle && self.is_quiet()
    }

    /// No transaction is open and no segment, as far as the server has answered, nor does it wait for what COPY takes.
    pub fn is_between_transactions(&self) -> bool {
        self.status == TransactionStatus::Idle && !self.open_segment && !self.flow.is_copying_in()
    }

    /// What comes up to the next Sync is dropped, but for that.
    pub fn is_skipping(&self) -> bool {
        self.flow.is_skipping()
    }

    /// Something was sent that the server has not answered.
    pub fn awaits_reply(&self) -> bool {
        self.flow.head().is_some()
    }

    /// Whether the server must go on before the client need: it is to answer something, or it copies.
    /// `cut`: the rest of the client's last message is still to come.
    pub fn awaits_server(&self, cut: bool) -> bool {
        self.flow.is_copying_in() || self.flow.awaits_server(cut)
    }

    /// A request is in flight that the server will answer to its end, whatever the client still sends.
    pub fn awaits_ready(&self) -> bool {
        self.flow.awaits_ready()
    }

    /// A reply of pgweir's own is due.
    pub fn is_reply_due(&mut self) -> bool {
        self.listening.is_ready_due() || self.flow.is_reply_due()
    }

    /// Something the client asked for runs on the server now, and can be cancelled.
    pub fn runs_for_client(&self) -> bool {
        self.flow.runs_for_client()
    }

    /// Something the client asked for is in flight, behind what pgweir itself asked for or not.
    pub fn holds_for_client(&self) -> bool {
        self.flow.holds_for_client()
    }

    /// The server waits for CopyData.
    pub fn is_copying_in(&self) -> bool {
        self.flow.is_copying_in()
    }

    /// No more may be sent until the server has answered.
    pub fn is_full(&self) -> bool {
        self.flow.is_full() || self.load.bytes > from_client::MAX_IN_FLIGHT_BYTES
    }

    /// Settings that a server must have for this client.
    pub fn desired(&self) -> &Settings {
        &self.desired
    }

    /// What was done since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// A server was given to the client: brings its settings in line, ahead of what the client sends.
    pub fn attach(&mut self, backend: &mut Backend, out: &mut BytesMut) -> Attach {
        if is_off("tracking") {
            return Attach::Ready;
        }
        let changes = backend.settings.changes_to(&mut self.desired);
        self.tell = true;
        self.sequences.begin();
        self.reading.begin(&mut self.desired, &mut backend.settings);
        for change in &changes.list {
            self.note_initial(&change.name, backend);
        }
        if self.knowledge.claim_reading() {
            self.ask_for_catalogue(backend, out);
        } else if self.knowledge.is_catalogue_behind() {
            // Anything may be what it calls.
            self.questions.suspects |= sql::Effects::FUNCTION;
        }
        self.judge_anew();
        let Changes { list: changes, first, whole, part } = changes;
        if changes.is_empty() {
            return Attach::Ready;
        }
        let waits = self.must_wait(&changes) && !is_off("waits");
        self.send_changes(backend, changes.split_at(first), (part, waits), out);
        let whole = whole.then(|| self.desired.clone());
        self.syncing = Some(Syncing { changes, done: 0, whole, error: None, waits });
        if waits { Attach::Wait } else { Attach::Ready }
    }

    /// After [`Attach::Wait`]: `None` while the server has not answered, else whether it took all
    /// values; an error is the body of its ErrorResponse.
    pub fn sync_result(&mut self) -> Option<Result<(), Bytes>> {
        if self.is_asking() {
            return None;
        }
        match &mut self.syncing {
            None => Some(Ok(())),
            Some(_) if !self.flow.is_empty() => None,
            Some(syncing) => {
                let error = syncing.error.take();
                let proven = syncing.changes.get(syncing.done).is_some_and(|change| {
                    let value = change.value.as_ref();
                    value.is_none_or(|v| self.knowledge.has_accepted(&change.name, v))
                });
                self.fault = if proven { Fault::Server } else { Fault::Client };
                self.syncing = None;
                Some(error.map_or(Ok(()), Err))
            }
        }
    }

    /// Whether what the server refused last is a value that others have accepted, or its own default: then the
    /// fault is the server's, and another may take it.
    pub fn was_refused_proven(&self) -> bool {
        self.fault == Fault::Server
    }

    /// How long the client's own settings let it be idle.
    pub fn idle_session_timeout(&self) -> Option<std::time::Duration> {
        self.desired.idle_session_timeout()
    }

    /// The server is gone from this client; what was in flight is lost with it.
    pub fn detach(&mut self) {
        // What its last texts did to others' tables and code, nobody will tell.
        let in_flight = if self.is_quiet() { Altered::Nothing } else { self.may_alter() };
        self.tell_altered(in_flight);
        if self.questions.awaits_catalogue() {
            self.knowledge.code_changed();
            self.knowledge.first_reading_over();
            if !self.is_quiet() {
                // What is in flight may be done after all, in a moment.
                self.knowledge.code_doubted();
            }
        }
        self.flow.reset();
        self.retry = None;
        self.sequences.end();
        self.questions = Questions::default();
        self.judged = None;
        self.listening.detach();
        self.pins = Pins::NONE;
        // The next lease tells what there is.
        self.tell = false;
        self.seat = None;
        self.forget_causes();
        self.owed = Leftovers::Nothing;
        self.resetting = Resetting::default();
        self.made = None;
        self.deallocating.clear();
        self.portal = None;
        self.described = None;
        self.syncing = None;
        self.load = Load::default();
        self.reading.end(&self.desired);
    }

    /// Whether a setting of the StartupMessage was never accepted by a server of this pool.
    pub fn has_unproven_settings(&self) -> bool {
        self.startup.iter().any(|(name, value)| !self.knowledge.has_accepted(name, value))
    }

    /// The settings that its servers have to judge, as one text; the same for clients that ask for the same.
    pub fn unproven_settings(&self) -> Vec<u8> {
        let unproven =
            self.startup.iter().filter(|(name, value)| !self.knowledge.has_accepted(name, value));
        unproven.fold(Vec::new(), |mut all, (name, value)| {
            all.extend_from_slice(name.as_bytes());
            all.push(0);
            all.extend_from_slice(value);
            all.push(0);
            all
        })
    }

    /// Its `application_name` as it was told, sharing memory.
    pub fn application(&self) -> Option<&Arc<[u8]>> {
        self.told.entry("application_name").map(|(_, name)| name)
    }

    /// Its `application_name`, as the server shows it.
    pub fn application_name(&self) -> &[u8] {
        self.told.get("application_name").unwrap_or_default()
    }

    /// What the client was told by ParameterStatus.
    pub fn told(&self) -> &Settings {
        &self.told
    }

    /// Tells a client at login what the server reports, overlaid with what it asked for itself.
    pub fn welcome(&mut self, reported: &Settings, out: &mut BytesMut) {
        self.told = reported.clone();
        for (name, value) in self.startup.iter() {
            if reported.get(name).is_some() && settings::is_settable(name) {
                let shown = self.knowledge.accepted(name, value);
                self.told.set(name, shown.as_deref().unwrap_or(value));
            }
        }
        self.reading.set_told(&self.told);
        for (name, value) in self.told.iter() {
            crate::wire::build::parameter_status(out, name, value);
        }
    }

    /// Something the client should see is in this session's transaction: it is open.
    pub fn is_in_transaction(&self) -> bool {
        self.status != TransactionStatus::Idle
    }

    /// A setting changes on this server: what `init_query` made of it must be restored before the next
    /// client, by a reset.
    fn note_initial(&mut self, name: &str, backend: &Backend) {
        if backend.initial.any || backend.initial.names.iter().any(|n| n.eq_ignore_ascii_case(name))
        {
            self.owed = self.owed.max(Leftovers::Resettable);
        }
    }

    /// Whether the client's messages wait until the server has taken these changes. What the client wants is
    /// mostly what was found proven before.
    fn must_wait(&mut self, changes: &[Change]) -> bool {
        let version = self.knowledge.accepted_version();
        if let Some((proven, found)) = &self.proven
            && *found == version
            && proven.is_shared_with(&self.desired)
        {
            let is_reset = |change: &&Change| change.value.is_none();
            return changes.iter().filter(is_reset).any(|c| settings::is_fail_closed(&c.name));
        }
        let is_proven = |name: &str, value: &[u8]| {
            !settings::is_fail_closed(name)
                && !settings::may_need_a_role(name)
                && self.knowledge.has_accepted(name, value)
        };
        if self.desired.iter().all(|(name, value)| is_proven(name, value)) {
            self.proven = Some((self.desired.clone(), version));
        }
        !changes.iter().all(|change| match &change.value {
            Some(value) => is_proven(&change.name, value),
            None => !settings::is_fail_closed(&change.name),
        })
    }

    fn send_changes(
        &mut self,
        backend: &mut Backend,
        (first, rest): (&[Change], &[Change]),
        (part, waits): (Option<u64>, bool),
        out: &mut BytesMut,
    ) {
        use crate::wire::build;
        let first = Some(first).filter(|first| !first.is_empty());
        for together in first.into_iter().chain(rest.split_inclusive(Change::is_encoding)) {
            // Of one row, so much is read at most.
            let bytes = together.iter().filter_map(|change| change.value.as_ref().map(|v| v.len()));
            let is_long = bytes.sum::<usize>() >= from_server::MAX_OWN_ROW / 2;
            let own = Own::setting(together.len(), waits || is_long);
            self.prepare_own(own, backend, out);
            self.write_changes(own, together, part, out);
            self.flow.sent(Kind::Bind, Owner::Proxy, Note::Plain);
            self.flow.sent(Kind::Execute, Owner::Proxy, Note::Set);
        }
        build::empty(out, b'S');
        self.flow.sent(Kind::Sync, Owner::Proxy, Note::Synced);
    }

    /// The messages are kept for the next server that lacks the same part of what the client wants, which mostly is
    /// what the client has of its own.
    fn write_changes(
        &mut self,
        own: Own,
        changes: &[Change],
        part: Option<u64>,
        out: &mut BytesMut,
    ) {
        // By which statement so many are set.
        let part = part.filter(|_| own == Own::setting(changes.len(), false));
        if let Some(written) = &self.written
            && part == Some(written.part)
            && written.wanted.is_shared_with(&self.desired)
        {
            return out.extend_from_slice(&written.bytes);
        }
        let start = out.len();
        match own {
            Own::Set => settings::write_changes(out, own.name(), changes),
            _ => settings::write_few_changes(out, own.name(), changes),
        }
        let bytes = out.get(start..).unwrap_or_default();
        if let Some(part) = part.filter(|_| bytes.len() <= MAX_WRITTEN) {
            self.written =
                Some(Written { wanted: self.desired.clone(), part, bytes: bytes.into() });
        }
    }

    fn next_ticket(&mut self) -> Ticket {
        self.ticket.sequence += 1;
        self.ticket
    }
}

/// Bytes of such messages that are kept for each client.
const MAX_WRITTEN: usize = 1 << 10;
