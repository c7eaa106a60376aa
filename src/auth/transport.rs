//! What the exchanges need to know of the connection that carries them.

/// `tls-server-end-point` data: the hash of the server's certificate (RFC 5929 section 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelBinding(Vec<u8>);

impl ChannelBinding {
    /// Takes the hash made with the hash function of the certificate's signature (MD5 and SHA-1 are
    /// replaced by SHA-256). Not a secret: the certificate travels in the open.
    pub fn tls_server_end_point(certificate_hash: impl Into<Vec<u8>>) -> Self {
        Self(certificate_hash.into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The connection under an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    /// TCP in the open.
    Plain,
    /// A Unix socket.
    Unix,
    /// TLS; no binding where the certificate's signature names no single hash (Ed25519).
    Tls(Option<ChannelBinding>),
}

impl Transport {
    /// A cleartext password may be sent.
    pub(super) fn is_confidential(&self) -> bool {
        !matches!(self, Self::Plain)
    }

    pub(super) fn channel_binding(&self) -> Option<&ChannelBinding> {
        match self {
            Self::Tls(binding) => binding.as_ref(),
            Self::Plain | Self::Unix => None,
        }
    }
}
