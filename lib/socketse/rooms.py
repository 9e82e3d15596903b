"""The rooms and their public names, in one string: a dict costs a board 1.3 kB more."""

rooms = """port: host: workers: limits: options: allow: alone: services:
server:BaseServer,TCPServer,BaseRequestHandler
handler:StreamRequestHandler
udp:DatagramRequestHandler,UDPServer
unix:UnixStreamServer,UnixDatagramServer
threads:ThreadingMixIn,ThreadingTCPServer,ThreadingUDPServer,\
ThreadingUnixStreamServer,ThreadingUnixDatagramServer
stream:AsyncStreamRequestHandler
hub: multiplex:MultiplexingMixIn,MultiplexingTCPServer,MultiplexingUnixStreamServer
multiplexer:Multiplexer"""
