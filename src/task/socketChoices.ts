// Options of single protocols, with a number each, that survive in a field of Faultline's own: where they differ from those
// of a fresh socket. What CRIU's images have fields for is not here. No calls.

export interface Choice {
  readonly level: number;
  readonly name: number;
}

/** linux/in.h, in6.h, tcp.h, udp.h and asm-generic/socket.h. */
const level = { socket: 1, ip: 0, tcp: 6, udp: 17, ipv6: 41 } as const;
const family = { inet: 2, inet6: 10 } as const;
const type = { stream: 1, datagram: 2 } as const;

function choices(of: number, names: readonly number[]): Choice[] {
  return names.map((name) => ({ level: of, name }));
}

const ofSockets = choices(level.socket, [
  40, // SO_RXQ_OVFL
  42, // SO_PEEK_OFF
  44, // SO_LOCK_FILTER
  45, // SO_SELECT_ERR_QUEUE
  46, // SO_BUSY_POLL
  47, // SO_MAX_PACING_RATE
  60, // SO_ZEROCOPY
  69, // SO_PREFER_BUSY_POLL
  74, // SO_TXREHASH
  75, // SO_RCVMARK
  76, // SO_PASSPIDFD
]);
const ofIp = choices(level.ip, [
  6, // IP_RECVOPTS
  7, // IP_RETOPTS
  10, // IP_MTU_DISCOVER
  11, // IP_RECVERR
  12, // IP_RECVTTL
  13, // IP_RECVTOS
  18, // IP_PASSSEC
  19, // IP_TRANSPARENT
  20, // IP_RECVORIGDSTADDR
  21, // IP_MINTTL
  23, // IP_CHECKSUM
  24, // IP_BIND_ADDRESS_NO_PORT
  25, // IP_RECVFRAGSIZE
  26, // IP_RECVERR_RFC4884
  32, // IP_MULTICAST_IF, its address
  33, // IP_MULTICAST_TTL
  34, // IP_MULTICAST_LOOP
  49, // IP_MULTICAST_ALL
  50, // IP_UNICAST_IF
  51, // IP_LOCAL_PORT_RANGE
]);
/** What a socket of IPv6 says when it speaks IPv4. */
const ofMapped = choices(level.ip, [1, 2]); // IP_TOS, IP_TTL
const ofIpv6 = choices(level.ipv6, [
  16, // IPV6_UNICAST_HOPS
  17, // IPV6_MULTICAST_IF
  18, // IPV6_MULTICAST_HOPS
  19, // IPV6_MULTICAST_LOOP
  23, // IPV6_MTU_DISCOVER
  25, // IPV6_RECVERR
  29, // IPV6_MULTICAST_ALL
  31, // IPV6_RECVERR_RFC4884
  49, // IPV6_RECVPKTINFO
  51, // IPV6_RECVHOPLIMIT
  53, // IPV6_RECVHOPOPTS
  56, // IPV6_RECVRTHDR
  58, // IPV6_RECVDSTOPTS
  60, // IPV6_RECVPATHMTU
  62, // IPV6_DONTFRAG
  66, // IPV6_RECVTCLASS
  67, // IPV6_TCLASS
  70, // IPV6_AUTOFLOWLABEL
  73, // IPV6_MINHOPCOUNT
  74, // IPV6_RECVORIGDSTADDR
  75, // IPV6_TRANSPARENT
  76, // IPV6_UNICAST_IF
  77, // IPV6_RECVFRAGSIZE
  78, // IPV6_FREEBIND
]);
const ofTcp = choices(level.tcp, [
  7, // TCP_SYNCNT
  8, // TCP_LINGER2
  9, // TCP_DEFER_ACCEPT
  16, // TCP_THIN_LINEAR_TIMEOUTS
  18, // TCP_USER_TIMEOUT
  25, // TCP_NOTSENT_LOWAT
  27, // TCP_SAVE_SYN
  30, // TCP_FASTOPEN_CONNECT
  34, // TCP_FASTOPEN_NO_COOKIE
  36, // TCP_INQ
  37, // TCP_TX_DELAY
]);
const ofUdp = choices(level.udp, [
  1, // UDP_CORK
  100, // UDP_ENCAP
  101, // UDP_NO_CHECK6_TX
  102, // UDP_NO_CHECK6_RX
  103, // UDP_SEGMENT
  104, // UDP_GRO
]);
const tcpProtocol = 6;
const udpProtocol = 17;

/** The options that a socket of that kind may have. */
export function choicesOf(ofFamily: number, ofType: number, protocol: number): readonly Choice[] {
  if (ofFamily !== family.inet && ofFamily !== family.inet6) return ofSockets;
  const network = ofFamily === family.inet ? ofIp : [...ofMapped, ...ofIpv6];
  if (ofType === type.stream && protocol === tcpProtocol) return [...ofSockets, ...network, ...ofTcp];
  if (ofType === type.datagram && protocol === udpProtocol) return [...ofSockets, ...network, ...ofUdp];
  return [...ofSockets, ...network];
}

/** Whether an image may ask for the option: anything else in it is passed over. */
export function isChoice(wanted: Choice): boolean {
  return [ofSockets, ofIp, ofMapped, ofIpv6, ofTcp, ofUdp].some((list) =>
    list.some((known) => known.level === wanted.level && known.name === wanted.name),
  );
}
