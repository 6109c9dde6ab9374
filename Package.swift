// swift-tools-version: 6.3
import PackageDescription

/// Every target of ours: Swift 6 language mode, strict imports, warnings are errors.
let strict: [SwiftSetting] = [
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

let package = Package(
    name: "credit-ledger",
    products: [
        .library(name: "Ledger", targets: ["Ledger"]),
        .library(name: "LedgerSQLite", targets: ["LedgerSQLite"]),
        .library(name: "Projections", targets: ["Projections"]),
        .library(name: "Metering", targets: ["Metering"]),
        .library(name: "Translation", targets: ["Translation"]),
        .executable(name: "LedgerServer", targets: ["LedgerServer"]),
        .executable(name: "replay", targets: ["replay"]),
    ],
    dependencies: [
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/swift-server/async-http-client", from: "1.37.0", traits: []),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.34.1"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/vapor/jwt-kit", from: "5.7.1"),
    ],
    targets: [
        .target(name: "WireJSON", swiftSettings: strict),
        .target(
            name: "Ledger",
            dependencies: ["WireJSON", "CNettle", .product(name: "Crypto", package: "swift-crypto")],
            swiftSettings: strict
        ),
        .target(name: "Metering", dependencies: ["Ledger", "WireJSON"], swiftSettings: strict),
        .target(name: "CRequestTables", exclude: ["tables"]),
        .target(name: "Requests", dependencies: ["CRequestTables", "WireJSON"], swiftSettings: strict),
        .target(name: "Translation", dependencies: ["Metering", "WireJSON"], swiftSettings: strict),
        .target(name: "Projections", dependencies: ["Ledger", "WireJSON"], swiftSettings: strict),
        .target(
            name: "LedgerSQLite",
            dependencies: [
                "Ledger", "Projections",
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "GRDB", package: "GRDB.swift"),
                .product(name: "GRDBSQLite", package: "GRDB.swift"),
            ],
            swiftSettings: strict
        ),
        .target(
            name: "Auditing", dependencies: ["Ledger", "LedgerSQLite", "Projections", "WireJSON"],
            swiftSettings: strict
        ),
        .target(
            name: "Authentication",
            dependencies: [
                "Ledger", "WireJSON", .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "JWTKit", package: "jwt-kit"),
            ],
            swiftSettings: strict
        ),
        .target(name: "COpenAPI", exclude: ["openapi.yaml"]),
        .systemLibrary(name: "CNettle", pkgConfig: "nettle", providers: [.apt(["nettle-dev"])]),
        .systemLibrary(name: "CPostgres", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .target(
            name: "OldGateway",
            dependencies: ["CPostgres", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "LedgerServer",
            dependencies: [
                "Ledger", "LedgerSQLite", "Projections", "Auditing", "Metering", "Requests", "Translation", "WireJSON",
                "Authentication", "OldGateway", "COpenAPI",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Hummingbird", package: "hummingbird"),
                .product(name: "HummingbirdCore", package: "hummingbird"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"),
                .product(name: "NIOHTTP1", package: "swift-nio"),
                .product(name: "NIOHTTPTypesHTTP1", package: "swift-nio-extras"),
                .product(name: "NIOPosix", package: "swift-nio"),
                .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
                .product(name: "UnixSignals", package: "swift-service-lifecycle"),
                .product(name: "Yams", package: "Yams"),
            ],
            swiftSettings: strict
        ),
        .executableTarget(
            name: "replay",
            dependencies: [
                "Ledger", "LedgerSQLite", "Projections", "Auditing", "WireJSON",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict
        ),
        .target(
            name: "Fuzzing", dependencies: ["Ledger", "Metering", "Translation"], path: "Tests/Fuzzing",
            swiftSettings: strict),
        .testTarget(name: "LedgerTests", dependencies: ["Ledger", "WireJSON", "Fuzzing"], swiftSettings: strict),
        .testTarget(
            name: "ProjectionsTests", dependencies: ["Projections", "Ledger", "WireJSON"], swiftSettings: strict),
        .testTarget(name: "MeteringTests", dependencies: ["Metering", "Ledger", "WireJSON"], swiftSettings: strict),
        .testTarget(name: "RequestsTests", dependencies: ["Requests", "WireJSON", "Fuzzing"], swiftSettings: strict),
        .testTarget(
            name: "TranslationTests", dependencies: ["Translation", "Metering", "Ledger", "WireJSON", "Fuzzing"],
            swiftSettings: strict),
        .target(
            name: "CFaultyDisk", path: "Tests/CFaultyDisk",
            linkerSettings: [.linkedLibrary("sqlite3")]),
        .testTarget(
            name: "LedgerSQLiteTests",
            dependencies: [
                "Ledger", "LedgerSQLite", "Projections", "CFaultyDisk", .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "ReplayTests",
            dependencies: [
                "replay", "Ledger", "LedgerSQLite", "Projections", "Auditing", "WireJSON", "Fuzzing",
                .product(name: "GRDB", package: "GRDB.swift"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "AuthenticationTests",
            dependencies: [
                "Authentication", "Ledger", "Fuzzing", .product(name: "Crypto", package: "swift-crypto"),
                .product(name: "CryptoExtras", package: "swift-crypto"),
            ],
            swiftSettings: strict
        ),
        .testTarget(
            name: "LedgerServerTests",
            dependencies: [
                "LedgerServer", "Ledger", "LedgerSQLite", "Metering", "Requests", "Projections", "Auditing", "Fuzzing",
                "OldGateway",
                .product(name: "AsyncHTTPClient", package: "async-http-client"),
                .product(name: "HTTPTypes", package: "swift-http-types"),
                .product(name: "Logging", package: "swift-log"),
                .product(name: "NIOCore", package: "swift-nio"), .product(name: "NIOHTTP1", package: "swift-nio"),
            ],
            swiftSettings: strict),
        .testTarget(
            name: "OldGatewayTests", dependencies: ["OldGateway", .product(name: "GRDB", package: "GRDB.swift")],
            swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests", dependencies: ["LedgerServer", "replay"], exclude: ["harness"], swiftSettings: strict
        ),
        .testTarget(name: "TidyTests", swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)
