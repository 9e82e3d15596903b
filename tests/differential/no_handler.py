"""Servers that do without a handler class, because they override what would call it."""

from helper import Client, Datagrams, address, say, ss

to = address()


class Finishing(ss.TCPServer):
    def finish_request(self, request, client_address):
        request.sendall(request.recv(100).upper())


class Processing(ss.UDPServer):
    def process_request(self, request, client_address):
        data, sock = request
        sock.sendto(data.upper(), client_address)


say("# connections")
with Finishing(to, None) as server:
    say(server.RequestHandlerClass)
    client = Client(to, b"hello")
    server.handle_request()
    say(client.rest())

say("# datagrams")
with Processing(to, None) as server:
    client = Datagrams(to)
    client.send(b"hello")
    server.handle_request()
    say(client.recv())
    client.close()
