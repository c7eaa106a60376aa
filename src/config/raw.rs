//! The shape of the file: every key optional, nothing checked beyond its type.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::model::{
    AuthMethod, ChannelBindingMode, ClientTlsMode, Limits, LogConfig, OnClientGone, PoolingMode,
    ServerTlsMode, Timeouts,
};
use super::secret::Password;
use super::units::{Count, Port, Share, Span};
use crate::session::listening::ListenMode;
use crate::session::rules::{DynamicSet, SequenceRule, Suspicion};

/// A whole file, or what the environment or the flags say in its stead.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub listen: Option<Vec<String>>,
    pub http_listen: Option<String>,
    pub workers: Option<Count>,
    pub reuse_port: bool,
    pub on_client_gone: Option<OnClientGone>,
    pub pooling: PoolingMode,
    pub observe: bool,
    pub tls: RawTls,
    pub auth: RawAuth,
    pub users: BTreeMap<String, RawUser>,
    pub databases: BTreeMap<String, RawDatabase>,
    pub classes: Vec<RawClass>,
    pub warm: Vec<RawWarm>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub pins: RawPins,
    pub admin: RawAdmin,
    pub log: LogConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTls {
    pub mode: Option<ClientTlsMode>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAuth {
    pub method: Option<AuthMethod>,
    pub userlist: Option<PathBuf>,
    pub query: Option<String>,
    pub query_user: Option<String>,
    pub query_password: Option<Password>,
    pub query_password_env: Option<String>,
    pub query_password_file: Option<PathBuf>,
    pub query_dbname: Option<String>,
    pub cache_ttl: Option<Span>,
    pub delay_after: Option<u32>,
    pub trust_remote: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPins {
    pub listen: Option<ListenMode>,
    pub max_pinned: Option<Share>,
    pub refuse: Vec<String>,
    pub suspicion: Suspicion,
    pub sequences: SequenceRule,
    pub dynamic_set: DynamicSet,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAdmin {
    pub users: Vec<String>,
    pub readers: Vec<String>,
    pub http_token: Option<Password>,
    pub http_token_env: Option<String>,
    pub http_token_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawUser {
    pub secret: Option<Password>,
    pub password: Option<Password>,
    pub password_env: Option<String>,
    pub password_file: Option<PathBuf>,
    pub server_password: Option<Password>,
    pub server_password_env: Option<String>,
    pub server_password_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawClass {
    pub name: Option<String>,
    pub user: Option<String>,
    pub database: Option<String>,
    pub application_name: Option<String>,
    pub source: Option<String>,
    pub option: Option<String>,
    pub weight: Option<Count>,
    pub max_servers: Option<Count>,
    pub guaranteed: Option<Count>,
    pub queue_limit: Option<Count>,
    pub queue_timeout: Option<Span>,
    pub queue_target: Option<Span>,
    pub lazy_begin: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWarm {
    pub database: Option<String>,
    pub user: Option<String>,
    pub servers: Option<Count>,
    pub at: Option<String>,
    #[serde(rename = "for")]
    pub time: Option<Span>,
    pub days: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDatabase {
    pub host: Option<String>,
    pub port: Option<Port>,
    pub dbname: Option<String>,
    pub user: Option<String>,
    pub password: Option<Password>,
    pub password_env: Option<String>,
    pub password_file: Option<PathBuf>,
    pub tls: Option<ServerTlsMode>,
    pub ca: Option<PathBuf>,
    pub channel_binding: Option<ChannelBindingMode>,
    pub init_query: Option<String>,
    pub max_servers: Option<Share>,
    pub listen: Option<ListenMode>,
    pub pooling: Option<PoolingMode>,
    pub observe: Option<bool>,
}
