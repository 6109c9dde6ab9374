// swift-tools-version: 6.3
import PackageDescription

// A package of its own, so that the server's dependency graph stays clean. See run.sh for what is measured.
let package = Package(
    name: "ledger-benchmarks",
    dependencies: [.package(name: "credit-ledger", path: "..")],
    targets: [
        .executableTarget(
            name: "LedgerBench",
            dependencies: [
                .product(name: "Ledger", package: "credit-ledger"),
                .product(name: "LedgerSQLite", package: "credit-ledger"),
                .product(name: "Metering", package: "credit-ledger"),
                .product(name: "Translation", package: "credit-ledger"),
            ])
    ],
    swiftLanguageModes: [.v6]
)
