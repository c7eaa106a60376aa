//! Labels with a fixed set of values.

/// A label whose values are known.
pub(crate) trait Label: Copy + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Its values, in the order of their index.
    const ALL: &'static [Self];
    /// The value as it is printed.
    fn text(self) -> &'static str;
    /// Its place in `ALL`.
    fn index(self) -> usize;
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident = $label:literal {
        $($(#[$value_doc:meta])* $value:ident = $text:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$value_doc])* $value,)+
        }

        impl Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn text(self) -> &'static str {
                match self { $(Self::$value => $text,)+ }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// How a client's login ended.
    LoginResult = "result" {
        /// Logged in.
        Accepted = "accepted",
        /// The proof was wrong, or the user unknown, expired or without the right to log in.
        AuthFailed = "auth_failed",
        /// What it asks for cannot be: an unknown database, no TLS, replication, a setting that PostgreSQL refuses.
        Refused = "refused",
        /// Bytes that break the protocol.
        Protocol = "protocol",
        /// `timeouts.login` passed.
        TimedOut = "timed_out",
        /// `limits.max_clients` was reached.
        TooManyClients = "too_many_clients",
        /// It needed a server to be welcomed, and waited for one for too long, or in vain.
        NoServer = "no_server",
        /// PostgreSQL, or the look-up of the user in it, could not be used.
        ServerFailed = "server_failed",
        /// The client went away.
        Gone = "gone",
    }
}

label! {
    /// What a server connection is doing.
    ServerState = "state" {
        /// Being opened.
        Connecting = "connecting",
        /// Waiting for a client.
        Idle = "idle",
        /// Held by a client.
        Leased = "leased",
        /// Listening for the clients of its pool.
        Listening = "listening",
        /// Waiting for the server's EOF.
        Closing = "closing",
    }
}

label! {
    /// Why a server connection was closed.
    CloseReason = "reason" {
        /// Idle for `timeouts.server_idle`, or above `limits.max_idle`.
        Idle = "idle",
        /// Older than `timeouts.server_lifetime`.
        Lifetime = "lifetime",
        /// Its session state could not be cleaned.
        Dirty = "dirty",
        /// It failed, or PostgreSQL ended it.
        Broken = "broken",
        /// Its client was gone and its work could not be ended in time.
        ClientGone = "client_gone",
        /// Its slot was given to another pool of the host.
        Yielded = "yielded",
        /// The configuration changed: a smaller pool, another address or password.
        Reload = "reload",
        /// It refused to write, where a primary was before; or it was idle and opened with one.
        ReadOnly = "read_only",
        /// Its pool is paused.
        Paused = "paused",
        /// pgweir is shutting down.
        Drain = "drain",
    }
}

label! {
    /// What became of a cancel request.
    CancelOutcome = "outcome" {
        /// Sent to PostgreSQL.
        Forwarded = "forwarded",
        /// The client was waiting for a server, and stopped.
        Waiting = "waiting",
        /// Nothing of the client's was running.
        Nothing = "nothing",
        /// No client has the key.
        UnknownKey = "unknown_key",
        /// PostgreSQL could not be reached, or did not close the connection in time.
        Failed = "failed",
        /// More cancels at once than their bound.
        TooMany = "too_many",
    }
}

label! {
    /// How a server was cleaned before another client got it.
    Clean = "kind" {
        /// A reset that keeps prepared statements.
        SoftReset = "soft_reset",
        /// `DISCARD ALL`.
        DiscardAll = "discard_all",
        /// It failed; the server was closed.
        Failed = "failed",
        /// Something was left; the server was closed.
        Unclean = "unclean",
    }
}

label! {
    /// What became of the work of a client that went away while it held a server.
    Abandoned = "outcome" {
        /// Nothing ran; an open transaction was rolled back.
        RolledBack = "rolled_back",
        /// A running statement was cancelled.
        Cancelled = "cancelled",
        /// It was let run to its end.
        Completed = "completed",
        /// The server was closed.
        Closed = "closed",
    }
}

label! {
    /// What a look-up of a user in PostgreSQL found.
    LookupResult = "result" {
        /// One who may log in.
        Found = "found",
        /// Nobody, or one who may not log in.
        Refused = "refused",
        /// No answer.
        Failed = "failed",
    }
}

label! {
    /// Whose error it was.
    ErrorSource = "source" {
        /// PostgreSQL's, passed on.
        Server = "server",
        /// pgweir's own.
        Pgweir = "pgweir",
    }
}

label! {
    /// Why a client got no server before its time was over.
    CheckoutRefusal = "reason" {
        /// Too many of its class wait already.
        QueueFull = "queue_full",
        /// It would have waited in vain.
        Late = "late",
    }
}

label! {
    /// A time of `timeouts` that has passed for a client.
    Timeout = "timeout" {
        /// Its statement was cancelled.
        Query = "query",
        /// It was ended inside a transaction.
        Transaction = "transaction",
        /// It was ended for its silence inside a transaction.
        IdleInTransaction = "idle_in_transaction",
        /// It was ended for its silence.
        IdleClient = "idle_client",
        /// It was ended for its silence while it kept a server.
        PinIdle = "pin_idle",
    }
}

label! {
    /// How a client's TLS began.
    TlsHandshake = "kind" {
        /// With a key exchange and a signature.
        Full = "full",
        /// By the ticket of an earlier connection.
        Resumed = "resumed",
    }
}
