"""A client of PostgreSQL's that is small enough to be there ten thousand times, and says no more than it is told to."""

import base64
import functools
import hashlib
import hmac
import secrets
import select
import socket
import struct

from contenders import DATABASE

SSL_REQUEST = struct.pack("!II", 8, 80877103)
PROTOCOL = 3 << 16
TIMEOUT = 60


class Client:
    """One connection, logged in by SCRAM. With a `context` it is encrypted, and goes on from a TLS `session` if it may."""

    def __init__(self, contender, password, database=DATABASE, context=None, session=None):
        self.password = password
        self.socket = socket.create_connection(("127.0.0.1", contender.port), TIMEOUT)
        if context:
            self.socket.sendall(SSL_REQUEST)
            if self.socket.recv(1) != b"S":
                raise ConnectionError(f"{contender.name} does not encrypt")
            self.socket = context.wrap_socket(self.socket, session=session)
        parameters = "".join(f"{text}\0" for text in ("user", contender.role, "database", database, ""))
        startup = struct.pack("!I", PROTOCOL) + parameters.encode()
        self.socket.sendall(struct.pack("!I", len(startup) + 4) + startup)
        self.scram()
        self.until_ready()

    def scram(self):
        """Proves that it knows the password."""
        bare = f"n=,r={secrets.token_urlsafe(18)}"
        self.authentication(10)
        first = f"n,,{bare}".encode()
        self.send(b"p", b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first)
        said = self.authentication(11).decode()
        of_server = dict(item.split("=", 1) for item in said.split(","))
        last = f"c=biws,r={of_server['r']}"
        key = client_key(self.password, of_server["s"], int(of_server["i"]))
        signature = sign(hashlib.sha256(key).digest(), f"{bare},{said},{last}")
        proof = bytes(one ^ other for one, other in zip(key, signature))
        self.send(b"p", f"{last},p={base64.b64encode(proof).decode()}".encode())
        self.authentication(12)

    def authentication(self, kind):
        """What the server says in an authentication message of that kind."""
        tag, body = self.message()
        if tag != b"R" or body[:4] != struct.pack("!I", kind):
            raise ConnectionError(f"instead of authentication {kind}: {tag} {body!r}")
        return body[4:]

    def query(self, text):
        """Runs a text by Query."""
        self.send(b"Q", text.encode() + b"\0")
        self.until_ready()

    def prepare(self, statements):
        """Prepares texts by name."""
        parses = (f"{name}\0{text}\0".encode() + b"\0\0" for name, text in statements.items())
        self.socket.sendall(b"".join(framed(b"P", parse) for parse in parses) + framed(b"S", b""))
        self.until_ready()

    def send(self, tag, body):
        """Sends one message."""
        self.socket.sendall(framed(tag, body))

    def until_ready(self):
        """Reads until the server is ready for more."""
        while (message := self.message())[0] != b"Z":
            if message[0] == b"E":
                raise ConnectionError(message[1])

    def message(self):
        """The next one: its tag and its body."""
        head = self.exactly(5)
        return head[:1], self.exactly(struct.unpack("!I", head[1:])[0] - 4)

    def exactly(self, size):
        """So many bytes. None beyond them are taken, so that nothing waits in a buffer here."""
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise ConnectionError("closed by the proxy")
            data += more
        return data

    def close(self):
        """Says goodbye."""
        self.send(b"X", b"")
        self.socket.close()


class Crowd:
    """Clients that stay and say nothing until they are left."""

    def __init__(self, contender, password, number, context=None):
        self.clients = []
        try:
            for _ in range(number):
                self.clients.append(Client(contender, password, context=context))
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Goes, all at once and without a word."""
        for client in self.clients:
            client.socket.close()

    def cut(self):
        """How many the proxy has closed, or said something to."""
        poll = select.poll()
        for client in self.clients:
            poll.register(client.socket, select.POLLIN)
        return len(poll.poll(0))


def framed(tag, body):
    """A message."""
    return tag + struct.pack("!I", len(body) + 4) + body


@functools.cache
def client_key(password, salt, iterations):
    """The costly part, the same for all clients of a role."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), iterations)
    return sign(salted, "Client Key")


def sign(key, text):
    """HMAC of a text."""
    return hmac.digest(key, text.encode(), "sha256")
