"""The examples of CPython's documentation of socketserver, with their clients."""

from helper import HOST, Client, Datagrams, Serving, address, say, ss

to = address()


class MyTCPHandler(ss.BaseRequestHandler):
    def handle(self):
        # self.request is the TCP socket connected to the client
        pieces = [b""]
        total = 0
        while b"\n" not in pieces[-1] and total < 10_000:
            pieces.append(self.request.recv(2000))
            total += len(pieces[-1])
        self.data = b"".join(pieces)
        say(f"Received from {self.client_address[0]}:")
        say(self.data.decode("utf-8"))
        # just send back the same data, but upper-cased
        self.request.sendall(self.data.upper())
        # after we return, the socket will be closed.


class MyOlderTCPHandler(ss.BaseRequestHandler):
    def handle(self):
        self.data = self.request.recv(1024).strip()
        say(f"{self.client_address[0]} wrote:")
        say(self.data)
        self.request.sendall(self.data.upper())


class MyStreamHandler(ss.StreamRequestHandler):
    def handle(self):
        # self.rfile is a file-like object created by the handler;
        # we can now use e.g. readline() instead of raw recv() calls.
        # We limit ourselves to 10000 bytes to avoid abuse by the sender.
        self.data = self.rfile.readline(10000).rstrip()
        say(f"{self.client_address[0]} wrote:")
        say(self.data.decode("utf-8"))
        # Likewise, self.wfile is a file-like object used to write back
        # to the client
        self.wfile.write(self.data.upper())


class MyUDPHandler(ss.BaseRequestHandler):
    def handle(self):
        data = self.request[0].strip()
        socket = self.request[1]
        say(f"{self.client_address[0]} wrote:")
        say(data)
        socket.sendto(data.upper(), self.client_address)


class ThreadedTCPRequestHandler(ss.BaseRequestHandler):
    def handle(self):
        data = str(self.request.recv(1024), "ascii")
        response = bytes("{}: {}".format("Thread", data), "ascii")
        self.request.sendall(response)


class ThreadedTCPServer(ss.ThreadingMixIn, ss.TCPServer):
    pass


class ThreadedUDPServer(ss.ThreadingMixIn, ss.UDPServer):
    pass


# with socketserver.TCPServer((HOST, PORT), MyTCPHandler) as server: server.serve_forever()
for handler in (MyTCPHandler, MyOlderTCPHandler, MyStreamHandler):
    with Serving(ss.TCPServer(to, handler)):
        for text in (b"hello world with TCP\n", b"python is nice\n"):
            say("Received:", Client(to, text).rest())

server = ss.UDPServer((HOST, to[1]), MyUDPHandler)
with Serving(server):
    client = Datagrams(to)
    client.send(b"hello world with UDP\n")
    received = client.recv()
    client.close()
say("Received:", received)

server = ThreadedTCPServer(to, ThreadedTCPRequestHandler)
with server:
    ip, port = server.server_address
    with Serving(server):
        for number in (b"1", b"2", b"3"):
            say("Received:", Client((ip, port), b"Hello World " + number).rest())

server = ThreadedUDPServer(to, MyUDPHandler)
with Serving(server):
    client = Datagrams(to)
    client.send(b"hello world with UDP and threads\n")
    received = client.recv()
    client.close()
say("Received:", received)
