import HTTPTypes
import Hummingbird
import NIOCore

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#else
    import Darwin
#endif

/// Where a request comes from, as far as attempts are counted: an IPv4 address, or the /64 of an IPv6 address, which is what one client has at least.
struct ClientAddress: Hashable, Sendable, CustomStringConvertible {
    let description: String

    /// The address of the connection; where that is a trusted proxy's, the last one in `X-Forwarded-For` that is not (who comes before it
    /// may have written what they like).
    init(_ connection: SocketAddress?, forwardedFor: [String], trusted: Set<String>) {
        var address = connection?.ipAddress.map(Self.plain) ?? "unknown"
        let hops = forwardedFor.flatMap { $0.split(separator: ",") }.map { hop in
            Self.withoutPort(hop.drop { $0 == " " }.prefix { $0 != " " })
        }
        for hop in hops.reversed() where trusted.contains(address) {
            guard (try? SocketAddress(ipAddress: hop, port: 0)) != nil else { break }
            address = Self.plain(hop)
        }
        description = Self.network(of: address)
    }

    /// Some proxies add the port of the client, and brackets around IPv6.
    private static func withoutPort(_ hop: Substring) -> String {
        if hop.hasPrefix("[") { return String(hop.dropFirst().prefix { $0 != "]" }) }
        let parts = hop.split(separator: ":", omittingEmptySubsequences: false)
        return parts.count == 2 ? String(parts[0]) : String(hop)
    }

    /// An IPv4 address is the same where it comes dressed as IPv6.
    private static func plain(_ address: String) -> String {
        address.lowercased().hasPrefix("::ffff:") && address.contains(".") ? String(address.dropFirst(7)) : address
    }

    private static func network(of address: String) -> String {
        var bytes = [UInt8](repeating: 0, count: 16)
        guard inet_pton(AF_INET6, address, &bytes) == 1 else { return address }
        let groups = stride(from: 0, to: 8, by: 2).map { index in
            String(UInt16(bytes[index]) << 8 | UInt16(bytes[index + 1]), radix: 16)
        }
        return groups.joined(separator: ":") + "::/64"
    }
}
